//! What is printed when a run is over: warnings, errors, counts.

use std::io::Write;

/// Prints warnings, one line each.
pub(crate) fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Prints an error as one line.
pub(crate) fn error(error: &anyhow::Error) {
    // A closed standard error leaves no way to say anything.
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(error));
}

/// The error and its causes; a cause that its effect already quotes is not said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line.replace(['\n', '\r'], " ")
}

/// A count with its noun, such as `1 sequence` or `2 sequences`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_every_cause_once() {
        let cause = std::io::Error::other("disk on fire");
        let quoting = anyhow::anyhow!("cannot write x: disk on fire");
        assert_eq!(one_line(&quoting), "cannot write x: disk on fire");
        let chained = anyhow::Error::from(cause).context("cannot write\nx");
        assert_eq!(one_line(&chained), "cannot write x: disk on fire");
        let both = anyhow::Error::from(std::io::Error::other("a")).context("a happened");
        assert_eq!(one_line(&both), "a happened");
    }

    #[test]
    fn count_one_has_no_plural() {
        assert_eq!((count(1, "chunk"), count(0, "chunk")), ("1 chunk".into(), "0 chunks".into()));
    }
}
