//! Golden cases that travel inside the program: small random models with what the reference
//! programs make of them (`testdata/golden`).

/// One model with its inputs and expectations.
pub(super) struct Golden {
    pub(super) name: &'static str,
    pub(super) family: &'static str,
    /// Name of the first token's embedding in the expectations.
    pub(super) first_token: &'static str,
    pub(super) config: &'static [u8],
    pub(super) weights: &'static [u8],
    pub(super) inputs: &'static [u8],
    pub(super) expected: &'static [u8],
}

macro_rules! file {
    ($path:expr) => {
        include_bytes!(concat!("../../../../testdata/golden/", $path))
    };
}

macro_rules! esm2 {
    ($name:literal) => {
        Golden {
            name: $name,
            family: "golden esm2",
            first_token: "bos",
            config: file!(concat!("esm2/", $name, ".hf/config.json")),
            weights: file!(concat!("esm2/", $name, ".hf/model.safetensors")),
            inputs: file!(concat!("esm2/", $name, ".inputs.json")),
            expected: file!(concat!("esm2/", $name, ".expected.safetensors")),
        }
    };
}

macro_rules! dnabert_s {
    ($name:literal) => {
        Golden {
            name: $name,
            family: "golden dnabert-s",
            first_token: "cls",
            config: file!(concat!("dnabert_s/", $name, ".config.json")),
            weights: file!(concat!("dnabert_s/", $name, ".model.safetensors")),
            inputs: file!(concat!("dnabert_s/", $name, ".inputs.json")),
            expected: file!(concat!("dnabert_s/", $name, ".expected.safetensors")),
        }
    };
}

pub(super) const GOLDEN: [Golden; 4] = [
    esm2!("esm2_d64_l3_h4"),
    esm2!("esm2_d128_l2_h2"),
    dnabert_s!("dnabert_s_d64_l3_h4"),
    dnabert_s!("dnabert_s_d192_l2_h12"),
];
