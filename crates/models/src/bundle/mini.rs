//! The files of the `mini` bundle, compiled into the program.

macro_rules! file {
    ($path:literal) => {
        ($path, include_bytes!(concat!("../../../../models/mini/", $path)) as &'static [u8])
    };
}

pub(super) const FILES: &[(&str, &[u8])] = &[
    file!("bundle.json"),
    file!("esm2/config.json"),
    file!("esm2/model.safetensors"),
    file!("dnabert_s/config.json"),
    file!("dnabert_s/model.safetensors"),
    file!("dnabert_s/tokenizer.json"),
    file!("heads/mini.safetensors"),
];
