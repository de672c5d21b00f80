//! What a run says of sequences that its number type could not hold.

use virnucpro_backend::Precision;
use virnucpro_runner::monitor::RunSummary;

/// Share of a run's sequences from which on computing them again is worth a warning.
const NOTICEABLE: f64 = 0.01;

/// A warning, where many sequences had to be computed again.
pub(crate) fn warning(performance: &RunSummary, precision: Precision) -> Option<String> {
    let RunSummary { sequences, recomputed, .. } = *performance;
    (recomputed as f64 > NOTICEABLE * sequences as f64).then(|| {
        format!(
            "{recomputed} of {sequences} sequences do not fit {precision} and were computed a second \
             time, in f32; --precision f32 may take less time"
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::Monitor;

    use super::*;

    #[test]
    fn warning_comes_above_a_hundredth_of_the_sequences() {
        let summary = |sequences, recomputed| RunSummary {
            sequences,
            recomputed,
            ..Monitor::disabled().summary()
        };
        assert_eq!(warning(&summary(0, 0), Precision::F16), None);
        assert_eq!(warning(&summary(200, 2), Precision::F16), None);
        let text = warning(&summary(200, 3), Precision::F16).unwrap();
        assert!(text.starts_with("3 of 200 sequences do not fit f16 and"), "{text}");
    }
}
