//! `virnucpro devices`: what can run the models here.

use std::fmt::Write;
use std::thread;

use virnucpro_pipeline::{CudaProbe, Precision};

use crate::args::DevicesArgs;

/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;

pub(crate) fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let probe = CudaProbe::look(args.cuda_libraries.as_deref());
    print!("{}", describe(&probe, thread::available_parallelism().map_or(1, usize::from))?);
    Ok(())
}

fn describe(probe: &CudaProbe, cores: usize) -> Result<String, std::fmt::Error> {
    let mut text = format!("cpu     {cores} cores; computes in f32\n");
    for device in probe.devices.iter().flatten() {
        let properties = &device.properties;
        let (major, minor) = properties.capability;
        write!(
            text,
            "cuda:{}  {}, compute capability {major}.{minor}, {} multiprocessors, bus {}; ",
            properties.index, properties.name, properties.multiprocessors, properties.bus_id
        )?;
        match &device.free_bytes {
            Ok(free) => write!(
                text,
                "{:.1} of {:.1} GiB free; ",
                *free as f64 / GIB,
                properties.total_bytes as f64 / GIB
            )?,
            Err(error) => write!(text, "cannot be opened: {error}; ")?,
        }
        let precisions: Vec<_> = device.precisions.iter().map(|p| Precision::name(*p)).collect();
        match precisions.as_slice() {
            [] => writeln!(text, "too old: compute capability 7.5 is the least")?,
            names => writeln!(text, "computes in {}", names.join(", "))?,
        }
    }
    text.push_str("\nfor GPUs:\n");
    for (library, found) in &probe.libraries {
        match found {
            Ok(version) => writeln!(text, "  {}: {version}", library.name())?,
            Err(error) => writeln!(text, "  {error}")?,
        }
    }
    let choice = match probe.obstacle() {
        None => "cuda:0".to_owned(),
        Some(obstacle) => format!("cpu, because {obstacle}"),
    };
    writeln!(text, "\n--device auto takes {choice}")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describe_machine_without_a_gpu_names_what_is_missing() {
        let probe = CudaProbe::look(None);
        if probe.obstacle().is_none() {
            return;
        }
        let text = describe(&probe, 3).unwrap();
        assert!(text.starts_with("cpu     3 cores"), "{text}");
        assert!(text.contains("--device auto takes cpu, because "), "{text}");
        assert!(text.contains("NVRTC"), "{text}");
    }
}
