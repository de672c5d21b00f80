//! The self-test of a GPU: every operation, every golden case, every precision.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the test says
//! what is missing and ends.

use virnucpro_pipeline::{Device, DeviceChoice, DeviceConfig, selftest};

#[test]
fn gpu_selftest_passes_in_every_precision() {
    let config = DeviceConfig { choice: DeviceChoice::Cuda(0), ..DeviceConfig::default() };
    let device = match Device::open(&config) {
        Ok(device) => device,
        Err(error) if std::env::var_os("VIRNUCPRO_TEST_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let reports = selftest(&device, None).unwrap();
    assert!(reports.len() >= 2, "f32 and f16 at least");
    for report in reports {
        assert_eq!(report.missed().count(), 0, "{}", report.table(false));
    }
}
