//! Names of element types in safetensors headers.

use virnucpro_backend::DType;

/// The element type a header calls `name`, if this project uses it.
///
/// # Source
/// huggingface/safetensors@24b0b28:safetensors/src/tensor.rs (`Dtype`); [`DType`]'s `Display` is
/// the inverse.
pub(super) fn from_name(name: &str) -> Option<DType> {
    Some(match name {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        _ => return None,
    })
}
