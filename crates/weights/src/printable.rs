//! Text from a file made safe to print in a one-line message.

/// Longest name shown in a message, in characters.
const MAX_SHOWN_CHARS: usize = 120;

/// Longest message that may contain foreign text, in characters.
const MAX_MESSAGE_CHARS: usize = 600;

/// Escapes control characters and cuts long names, so that a message stays one readable line
/// whatever a file holds.
pub fn printable(name: &str) -> String {
    escaped(name, MAX_SHOWN_CHARS)
}

/// Like [`printable`], for a whole message: longer text is kept.
pub fn one_line(message: &str) -> String {
    escaped(message, MAX_MESSAGE_CHARS)
}

fn escaped(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(max_chars) {
        if matches!(c, '"' | '\'' | '\\') {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    if text.chars().nth(max_chars).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_newline_is_escaped() {
        assert_eq!(printable("a\nb\u{1b}[31m\"c\""), "a\\nb\\u{1b}[31m\"c\"");
    }

    #[test]
    fn printable_long_text_is_cut() {
        let shown = printable(&"x".repeat(10_000));
        assert_eq!(shown.chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
