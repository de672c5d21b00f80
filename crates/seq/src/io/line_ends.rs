//! Text-mode line ends: `\r\n` and a lone `\r` become `\n`.
//!
//! Owns nothing but that rule, across block borders. Entry type: [`LineEnds`].

/// Rewrites blocks of one text in order.
#[derive(Debug, Default)]
pub(crate) struct LineEnds {
    after_return: bool,
}

impl LineEnds {
    /// Rewrites `block` in place; it never grows.
    pub(crate) fn unify(&mut self, block: &mut Vec<u8>) {
        // The line end was already written when the `\r` at the end of the last block was seen.
        if self.after_return && block.first() == Some(&b'\n') {
            block.remove(0);
            self.after_return = false;
        }
        if let Some(&last) = block.last() {
            self.after_return = last == b'\r';
        }
        let Some(first) = memchr::memchr(b'\r', block) else {
            return;
        };
        let (mut read, mut write) = (first, first);
        while read < block.len() {
            block[write] = b'\n';
            write += 1;
            read += if block.get(read + 1) == Some(&b'\n') { 2 } else { 1 };
            let rest = memchr::memchr(b'\r', &block[read.min(block.len())..]);
            let line_end = rest.map_or(block.len(), |length| read + length);
            block.copy_within(read.min(line_end)..line_end, write);
            write += line_end - read.min(line_end);
            read = line_end;
        }
        block.truncate(write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unify_in_blocks(text: &[u8], size: usize) -> Vec<u8> {
        let mut line_ends = LineEnds::default();
        let mut unified = Vec::new();
        for block in text.chunks(size) {
            let mut block = block.to_vec();
            line_ends.unify(&mut block);
            unified.extend(block);
        }
        unified
    }

    #[test]
    fn line_ends_every_kind_becomes_newline() {
        assert_eq!(unify_in_blocks(b"a\r\nb\rc\n\r\r\n\rd\r", 99), b"a\nb\nc\n\n\n\nd\n");
    }

    proptest! {
        #[test]
        fn prop_line_ends_do_not_depend_on_block_borders(
            text in proptest::collection::vec(proptest::sample::select(b"a\r\nb".to_vec()), 0..60),
            size in 1usize..9,
        ) {
            let slowly = String::from_utf8(text.clone()).unwrap();
            let slowly = slowly.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(unify_in_blocks(&text, size), slowly.into_bytes());
        }
    }
}
