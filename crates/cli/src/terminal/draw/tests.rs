//! The screen on made-up runs, at sizes from tiny to large.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use virnucpro_pipeline::monitor::{QueueDepth, Tier};

use super::*;
use crate::terminal::testing::{gpu, snapshot};

fn buffer(width: u16, height: u16, scene: &Scene<'_>) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, scene)).unwrap();
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width.max(1));
    buffer
        .content
        .chunks(width)
        .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
        .collect()
}

fn scene<'a>(snapshot: &'a Snapshot, log: &'a [String]) -> Scene<'a> {
    let remaining = Some(Duration::from_secs(36));
    Scene { title: "virnucpro predict", snapshot, remaining, log, is_stopping: false }
}

fn shown(width: u16, height: u16, snapshot: &Snapshot, log: &[String]) -> Vec<String> {
    rows(&buffer(width, height, &scene(snapshot, log)))
}

fn row_with<'a>(rows: &'a [String], start: &str) -> &'a str {
    let found = rows.iter().find(|row| row.starts_with(start));
    found.unwrap_or_else(|| panic!("no row {start:?} in\n{}", rows.join("\n")))
}

#[test]
fn screen_of_80_by_24_has_every_part() {
    let log = ["   1.000s  WARN odd".to_owned()];
    let rows = shown(80, 24, &snapshot(), &log);
    assert!(rows[0].starts_with("virnucpro predict") && rows[0].ends_with("0:12, q stops"));
    assert!(rows[1].starts_with(" 25 % ██████▌"), "{}", rows[1]);
    assert!(rows[1].ends_with("0:36 left, 1.00 of 4.00 M letters"), "{}", rows[1]);
    assert_eq!(rows[2], "22,609 tokens/s, 163 sequences/s now; 21,500 and 150 overall");
    assert_eq!(
        rows[3],
        "1,956 sequences in 133 batches, 41 from the cache; packing_efficiency 91.4 %"
    );
    let compute = row_with(&rows, "compute");
    assert!(compute.contains("███████▊  97 %"), "{compute}");
    assert!(row_with(&rows, "transfer").contains("2/4 batches"));
    assert!(row_with(&rows, "tokenize").contains("██████ 4/4 unique sequences"));
    assert!(row_with(&rows, "write").contains("0/3 results"));
    assert!(row_with(&rows, "bottleneck (none): The device is the limit").len() > 40);
    assert!(rows.iter().any(|row| row.contains("tokens/s, last 12 s, up to 24,500")));
    assert!(rows.iter().any(|row| row.ends_with("CPU    █████████▌  95 % of all cores")));
    assert!(rows.iter().any(|row| row.contains("0.06 GiB resident")));
    assert!(row_with(&rows, "   1.000s  WARN odd").len() > 10);
}

#[test]
fn screen_of_200_by_60_shows_gpus_and_many_lines_of_log() {
    let mut now = snapshot();
    let silent = virnucpro_pipeline::monitor::DeviceSample {
        utilisation_percent: None,
        memory_used_bytes: None,
        memory_total_bytes: None,
        power_watts: None,
        temperature_celsius: None,
        ..gpu()
    };
    now.devices = vec![gpu(), silent];
    let log: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
    let rows = shown(200, 60, &now, &log);
    let text = rows.join("\n");
    assert!(text.contains("NVIDIA H200, 512 W, 61 °C"));
    assert!(text.contains("used ████████▊·  88 % of the time"), "{text}");
    assert!(text.contains("mem  ██▌······· 40.00 GiB of 160.00 GiB"), "{text}");
    assert_eq!(text.matches("% of the time").count(), 1 + 2, "one GPU is silent");
    assert_eq!(rows.last().unwrap(), "line 99");
    assert!(text.contains("line 80") && !text.contains("line 10\n"));
}

#[test]
fn screen_of_20_by_5_shows_how_far_and_how_fast() {
    let rows = shown(20, 5, &snapshot(), &[]);
    assert!(rows[0].ends_with("q stops"), "{rows:?}");
    assert!(rows[1].starts_with(" 25 % "), "{rows:?}");
    assert!(rows[2].starts_with("22,609 tokens/s"), "{rows:?}");
}

#[test]
fn screen_of_any_size_is_drawn() {
    let mut now = snapshot();
    now.devices = vec![gpu(); 8];
    let log = vec!["a line of the log".to_owned(); 3];
    for width in [0, 1, 2, 7, 20, 33, 69, 70, 71, 120] {
        for height in [0, 1, 2, 3, 5, 8, 13, 24, 50] {
            shown(width, height, &now, &log);
        }
    }
}

#[test]
fn screen_before_the_first_batch_says_that_it_waits() {
    let mut now = snapshot();
    (now.batches, now.packing_efficiency, now.bottleneck, now.process) = (0, None, None, None);
    (now.stages, now.queues, now.throughput_history) = Default::default();
    now.progress = Default::default();
    let rows = rows(&buffer(80, 24, &Scene { remaining: None, ..scene(&now, &[]) }));
    assert_eq!(rows[1], "0.00 M letters");
    assert_eq!(rows[2], "opening the model, filling the queues");
    assert!(rows[3].ends_with("packing_efficiency -"));
    row_with(&rows, "bottleneck: not known before the first batch");
    row_with(&rows, "nothing yet");
}

#[test]
fn screen_that_is_stopping_says_so() {
    let now = snapshot();
    let rows = rows(&buffer(80, 24, &Scene { is_stopping: true, ..scene(&now, &[]) }));
    assert!(rows[0].ends_with("stopping …"), "{}", rows[0]);
}

#[test]
fn slowest_stage_and_a_critical_bottleneck_stand_out() {
    let mut now = snapshot();
    let found = now.bottleneck.as_mut().unwrap();
    (found.tier, found.slowest_stage) = (Tier::Critical, "tokenize".into());
    let buffer = buffer(100, 30, &scene(&now, &[]));
    let rows = rows(&buffer);
    let colour = |start: &str| {
        let row = rows.iter().position(|row| row.starts_with(start)).unwrap();
        buffer[(0, row as u16)].fg
    };
    assert_eq!(colour("tokenize"), Color::Yellow);
    assert_eq!(colour("compute"), Color::Reset);
    assert_eq!(colour("bottleneck (critical)"), Color::Red);
}

#[test]
fn queue_that_no_stage_takes_from_has_a_row_of_its_own() {
    let mut now = snapshot();
    now.queues.push(QueueDepth { name: "leftovers".into(), len: 1, capacity: 2 });
    let rows = shown(100, 30, &now, &[]);
    assert!(rows.iter().any(|row| row.trim() == "███··· 1/2 leftovers"), "{rows:#?}");
}

#[test]
fn warnings_are_counted_in_the_title_of_the_log() {
    let mut now = snapshot();
    now.warnings = 2;
    let rows = shown(80, 24, &now, &["warning: \u{1b}[31mred".to_owned()]);
    assert!(rows.iter().any(|row| row.contains("log, 2 warnings")));
    let line = row_with(&rows, "warning: ");
    assert!(!line.contains('\u{1b}'), "a terminal must not obey it: {line:?}");
}

#[test]
fn throughput_columns_are_means_that_keep_the_newest_apart() {
    let of = throughput::columns;
    assert_eq!(of(&[], 10), [0; 0]);
    assert_eq!(of(&[1.0, 2.0, 3.0], 0).len(), 1);
    assert_eq!(of(&[1.0, 2.0, 3.0], 3), [1, 2, 3]);
    assert_eq!(of(&[10.0, 2.0, 4.0, 6.0, 8.0], 3), [10, 3, 7], "pairs from the end");
}

#[test]
fn throughput_of_whole_batches_is_smoothed_over_a_second() {
    let quarter = Duration::from_millis(250);
    let bumpy = [0.0, 8.0, 0.0, 8.0, 0.0, 8.0, 0.0];
    assert_eq!(throughput::smooth(&bumpy, quarter), [0.0, 4.0, 8.0 / 3.0, 4.0, 4.0, 4.0, 4.0]);
    assert_eq!(throughput::smooth(&bumpy, Duration::from_secs(2)), bumpy, "no finer than a sample");
    assert_eq!(throughput::smooth(&bumpy[..2], Duration::ZERO), [0.0, 4.0]);
}

#[test]
fn queues_and_stages_of_a_real_run_have_their_rows() {
    use virnucpro_pipeline as pipeline;
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("open.fa");
    std::fs::write(&input, format!(">a\n{}\n", "GCC".repeat(1000))).unwrap();
    let config = pipeline::PredictConfig {
        inputs: vec![pipeline::Input::from(&input)],
        output_dir: folder.path().join("out"),
        model: pipeline::ModelChoice::parse("mini"),
        chunk_length: std::num::NonZeroUsize::new(500).unwrap(),
        threads: std::num::NonZeroUsize::MIN,
        min_length_nt: 0,
        token_budget: pipeline::TokenBudget::Auto,
        dedup: true,
    };
    let device = pipeline::Device::open(&pipeline::DeviceConfig::cpu(1)).unwrap();
    let monitor = pipeline::Monitor::disabled();
    let mut seen = None;
    let mut look = |_| seen = Some(monitor.snapshot());
    pipeline::predict(&config, &device, &monitor, &pipeline::CancelToken::default(), &mut look)
        .unwrap();
    let seen = seen.expect("a run reports its progress");
    assert!(!seen.queues.is_empty());
    let rows = shown(120, 40, &seen, &[]);
    for stage in ["dedup", "tokenize", "pack", "transfer", "compute", "retrieve", "write"] {
        row_with(&rows, stage);
    }
    for queue in &seen.queues {
        let has = |stage: &virnucpro_pipeline::monitor::StageLoad| {
            stages::queue_of(&seen, &stage.name) == Some(queue)
        };
        assert!(seen.stages.iter().any(has), "no stage takes from {:?}", queue.name);
    }
}
