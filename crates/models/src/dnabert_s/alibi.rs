//! The slopes of ALiBi (attention with linear biases).

/// Slope of each head.
///
/// For a power of two `n` the slopes are `2^(-8/n · (h + 1))`. Other counts take the slopes of
/// the power of two below, then every other slope of the power of two above: twelve heads get
/// 2⁻¹ … 2⁻⁸, then 2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5.
///
/// # Source
/// Press et al. 2022; MAGICS-LAB/DNABERT_S: evaluate/model_codes/bert_layers.py, lines 371-397.
pub fn alibi_slopes(num_heads: usize) -> Vec<f32> {
    let geometric = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2() as f32);
    let below = if num_heads == 0 { 0 } else { 1 << num_heads.ilog2() };
    geometric(below).chain(geometric(2 * below).step_by(2)).take(num_heads).collect()
}

#[cfg(test)]
mod tests {
    use super::alibi_slopes;

    #[test]
    fn alibi_slopes_power_of_two_and_other_counts_follow_their_rules() {
        assert_eq!(alibi_slopes(4), [0.25, 0.0625, 0.015_625, 0.003_906_25]);
        let twelve = alibi_slopes(12);
        let exponents: Vec<f32> = twelve.iter().map(|s| s.log2()).collect();
        let expected = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -0.5, -1.5, -2.5, -3.5];
        for (found, expected) in exponents.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{exponents:?}");
        }
        assert_eq!(alibi_slopes(1), [2f32.powi(-8)]);
        assert!(alibi_slopes(0).is_empty());
    }
}
