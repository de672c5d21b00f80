//! `virnucpro classify`.

use std::io;

use virnucpro_pipeline::{ClassifyConfig, Device, DeviceConfig, classify, classify_to_file};

use crate::args::ClassifyArgs;

pub(crate) fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    let threads = super::threads(args.threads).get();
    let device = Device::open(&DeviceConfig::cpu(threads))?;
    let config = ClassifyConfig {
        features: args.features.clone(),
        tensor: args.tensor.clone(),
        head: args.head.clone(),
    };
    match &args.output {
        Some(path) => {
            let report = classify_to_file(&config, &device, path)?;
            println!("{} rows, {} of them viral", report.rows, report.viral_rows);
            println!("wrote {}", path.display());
        }
        None => {
            classify(&config, &device, &mut io::stdout().lock())?;
        }
    }
    Ok(())
}
