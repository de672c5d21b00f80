//! Owns what a text cell of our tables may hold. Must not know any table.

use std::fmt::{self, Display, Formatter, Write};

/// Displays a text as one table cell.
///
/// Ids end at the first blank, so they are written as they are; should a tab or line
/// end ever reach a table, it becomes `\t`, `\n` or `\r` rather than a new cell or row.
pub(crate) struct Cell<'a>(pub(crate) &'a str);

impl Display for Cell<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for piece in self.0.split_inclusive(['\t', '\n', '\r']) {
            let text = piece.trim_end_matches(['\t', '\n', '\r']);
            f.write_str(text)?;
            for letter in piece[text.len()..].chars() {
                f.write_char('\\')?;
                f.write_char(match letter {
                    '\t' => 't',
                    '\n' => 'n',
                    _ => 'r',
                })?;
            }
        }
        Ok(())
    }
}
