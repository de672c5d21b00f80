//! `virnucpro selftest`.

use std::time::Instant;

use virnucpro_pipeline::selftest;

use crate::args::SelftestArgs;

pub(crate) fn run(args: &SelftestArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let device = super::open_device(&args.device)?;
    eprintln!("device: {}, {}", device.name(), device.reason());
    let (mut missed, mut total) = (0, 0);
    for report in selftest(&device, args.device.precision)? {
        print!("{}", report.table(args.all));
        missed += report.missed().count();
        total += report.checks.len();
    }
    let seconds = started.elapsed().as_secs_f64();
    if missed > 0 {
        anyhow::bail!(
            "{missed} of {total} checks missed: results of this device cannot be trusted"
        );
    }
    println!("{total} checks passed in {seconds:.1} s");
    Ok(())
}
