//! Which format a file has, from its first bytes.

use super::Format;

/// What `torch.save` wrote before version 1.6: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 12] =
    [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

const RE_SAVE: &str = "in Python, load it with the torch version that wrote it and save its \
                       state_dict() again with torch.save of torch 1.6 or later";

/// The format of a file that starts with these bytes, or what it is instead.
pub(super) fn format(bytes: &[u8]) -> Result<Format, String> {
    if bytes.starts_with(b"PK") {
        return Ok(Format::PyTorch);
    }
    if bytes.get(8) == Some(&b'{') {
        return Ok(Format::Safetensors);
    }
    Err(if bytes.is_empty() {
        "the file is empty".to_owned()
    } else if bytes.first() == Some(&0x80) && bytes.get(2..14) == Some(&LEGACY_MAGIC) {
        format!("it is in the old format of torch.save, which is not read; {RE_SAVE}")
    } else if bytes.get(257..262) == Some(b"ustar") {
        format!("it is a tar file, as torch wrote before 2017, which is not read; {RE_SAVE}")
    } else if bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|&v| v <= 5) {
        "it is a bare pickle, which is not read; in Python, save the tensors with torch.save"
            .to_owned()
    } else if bytes.starts_with(b"version https://git-lfs") {
        "it is a Git LFS pointer, not the weights; run `git lfs pull`".to_owned()
    } else {
        "it is neither a safetensors file nor a PyTorch archive".to_owned()
    })
}
