//! Checks of the numbers in a `config.json`, which nobody vouches for.

use crate::ModelError;

/// Largest extent that is believed: beyond every published model, and far from overflowing in the
/// small multiples that shapes are made of.
const MAX_EXTENT: usize = 1 << 24;

/// Checks that extents are neither zero nor absurd; nothing is allocated by them before the
/// tensors have been found to agree.
pub(crate) fn check_extents(file: &str, extents: &[(&str, usize)]) -> Result<(), ModelError> {
    match extents.iter().find(|(_, extent)| !(1..=MAX_EXTENT).contains(extent)) {
        None => Ok(()),
        Some((name, extent)) => {
            Err(ModelError::config(file, format!("{name} is {extent}, not 1 to {MAX_EXTENT}")))
        }
    }
}

/// Checks that constants are positive numbers.
pub(crate) fn check_positive(file: &str, constants: &[(&str, f32)]) -> Result<(), ModelError> {
    match constants.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        None => Ok(()),
        Some((name, value)) => {
            Err(ModelError::config(file, format!("{name} is {value}, not a positive number")))
        }
    }
}
