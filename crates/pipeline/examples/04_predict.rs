//! The whole pipeline as a library call.
//!
//! Run with `cargo run --release -p virnucpro-pipeline --example 04_predict -- INPUT.fa OUT_DIR`.

use std::error::Error;
use std::num::NonZeroUsize;

use virnucpro_pipeline::{
    CancelToken, Device, DeviceConfig, Input, ModelChoice, Monitor, PredictConfig, TokenBudget,
    predict,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(input), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: 04_predict INPUT.fa OUT_DIR".into());
    };
    let device = Device::open(&DeviceConfig::default())?;
    let config = PredictConfig {
        inputs: vec![Input::from(&input)],
        output_dir: output.into(),
        model: ModelChoice::Mini,
        chunk_length: NonZeroUsize::new(500).expect("500 is not zero"),
        threads: std::thread::available_parallelism()?,
        min_length_nt: 0,
        token_budget: TokenBudget::Auto,
        dedup: true,
    };
    let report =
        predict(&config, &device, &Monitor::disabled(), &CancelToken::default(), &mut |_| {})?;
    println!("{:?}", report.summary.counts.contigs);
    Ok(())
}
