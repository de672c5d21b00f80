//! What the program shows while it runs: lines, the whole screen, the log.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use common::{Run, names, open_sequence, program, run};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const STAGES: [&str; 7] = ["dedup", "tokenize", "pack", "transfer", "compute", "retrieve", "write"];
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

fn example() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/contigs.fasta").to_owned()
}

/// `predict` on the example with these options, and no terminal.
fn predict(options: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (example(), folder.path().to_str().unwrap().to_owned());
    let mut arguments = vec!["predict", &input, "-o", &output];
    arguments.extend(options);
    run(&arguments)
}

/// What a program on a terminal of 100 by 30 wrote there and how it ended; `key` is typed once the
/// text before it has appeared.
fn on_a_terminal(arguments: &[&str], key: Option<(&str, &[u8])>) -> (Option<i32>, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&controller, size).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let end = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = program()
        .args(arguments)
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .env("TERM", "xterm")
        .spawn()
        .unwrap();
    // Reading ends when the last other end of the terminal is closed.
    drop(terminal);
    let mut controller = File::from(controller);
    let (mut bytes, mut block, mut key) = (Vec::new(), [0; 4096], key);
    while let Ok(count @ 1..) = controller.read(&mut block) {
        bytes.extend_from_slice(&block[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, typed)) = key.take_if(|(awaited, _)| text.contains(*awaited)) {
            controller.write_all(typed).unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    assert!(key.is_none(), "the key was typed");
    (code, String::from_utf8(bytes).unwrap())
}

/// What was written after the screen was left, which happened once and for good.
fn after_the_screen(text: &str) -> &str {
    assert_eq!((text.matches(ENTER).count(), text.matches(LEAVE).count()), (1, 1), "{text:?}");
    let (screen, after) = text.split_once(LEAVE).unwrap();
    assert!(screen.contains(ENTER));
    after.strip_prefix(SHOW_CURSOR).expect("the cursor is shown again")
}

fn long_input(folder: &Path) -> String {
    let input = folder.join("long.fa");
    std::fs::write(&input, format!(">a\n{}\n", open_sequence(3_000_000, 5))).unwrap();
    input.to_str().unwrap().to_owned()
}

fn stops_on(key: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (long_input(folder.path()), folder.path().join("out"));
    let arguments = ["predict", &input, "--tui", "-o", output.to_str().unwrap()];
    let (code, text) = on_a_terminal(&arguments, Some(("compute", key)));
    assert_eq!(code, Some(130));
    assert!(after_the_screen(&text).starts_with("error: stopped before the end"), "{text:?}");
    let finals: Vec<_> = names(&output).into_iter().filter(|n| !n.contains(".partial")).collect();
    assert_eq!(finals, [""; 0], "no file under a final name");
}

#[test]
fn tui_stops_on_q_like_an_interrupt() {
    stops_on(b"q");
}

#[test]
fn tui_stops_on_ctrl_c_like_an_interrupt() {
    stops_on(b"\x03");
}

#[test]
fn tui_shows_the_run_and_leaves_the_summary_on_the_ordinary_screen() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let (code, text) = on_a_terminal(
        &["predict", &example(), "--tui", "--log-level", "debug", "-o", output],
        None,
    );
    assert_eq!(code, Some(0));
    let after = after_the_screen(&text);
    for part in ["workers", "bottleneck (", "30 sequences: 14 viral", "summary.json"] {
        assert!(after.contains(part), "no {part:?} in {after}");
    }
    assert!(!after.contains('\u{1b}'), "nothing draws any more: {after:?}");
    let screen = text.split_once(LEAVE).unwrap().0;
    for part in ["virnucpro", "busy", "tokens/s", "queue", "tokenized", "DEBUG"] {
        assert!(screen.contains(part), "no {part:?} on the screen");
    }
    assert!(!after.contains("DEBUG"), "only what is serious outlives the screen");
}

#[test]
fn tui_of_a_run_that_fails_leaves_the_cause_on_the_ordinary_screen() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("odd.fa");
    let open = open_sequence(2_000, 3);
    std::fs::write(&input, format!("@a\n{open}\n+\n{open}\n@b\nACGT\n+\nIII\n")).unwrap();
    let (input, output) = (input.to_str().unwrap(), folder.path().join("out"));
    let (code, text) =
        on_a_terminal(&["predict", input, "--tui", "-o", output.to_str().unwrap()], None);
    assert_eq!(code, Some(1));
    let after = after_the_screen(&text);
    assert!(after.starts_with("error: ") && after.contains("odd.fa"), "{after}");
    assert_eq!(after.lines().count(), 1, "{after}");
}

#[test]
fn tui_without_a_terminal_says_so_and_writes_no_control_characters() {
    let run = predict(&["--tui"]).ok();
    let said = "--tui: standard error is not a terminal; showing lines of progress instead\n";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert!(run.stderr.contains("bottleneck ("));
    assert!(!run.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stderr);
}

#[test]
fn tui_that_is_quiet_is_bad_usage() {
    let run = predict(&["--tui", "--quiet"]);
    assert_eq!(run.code, Some(2));
}

#[test]
fn line_on_a_terminal_shows_rates_and_queues_and_is_gone_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let (code, text) = on_a_terminal(&["predict", &example(), "-o", output], None);
    assert_eq!(code, Some(0));
    assert!(!text.contains(ENTER));
    for part in ["tokens/s", "sequences/s", "queues ", " left"] {
        let live = text.split_once(" s: ").unwrap().0;
        assert!(live.contains(part), "no {part:?} in {live:?}");
    }
    let last = text.rsplit_once("\u{1b}[2K").unwrap().1;
    assert!(last.trim_start().contains("packing_efficiency"), "the table follows: {last:?}");
    assert!(!last.contains(" left"), "{last:?}");
}

#[test]
fn log_at_debug_has_spans_of_every_stage_with_their_time() {
    let run = predict(&["--log-level", "debug"]).ok();
    for stage in STAGES {
        let of_stage = format!("stage=\"{stage}\"");
        let has = |line: &str| {
            line.contains(" DEBUG ") && line.contains(&of_stage) && line.contains("time.busy=")
        };
        assert!(run.stderr.lines().any(has), "no span of {stage} in {}", run.stderr);
    }
    assert!(!run.stderr.contains('\u{1b}'), "no colour without a terminal");
}

#[test]
fn log_without_an_option_has_no_spans() {
    let run = predict(&[]).ok();
    for word in ["DEBUG", "INFO", "time.busy", "stage="] {
        assert!(!run.stderr.contains(word), "{}", run.stderr);
    }
}

#[test]
fn log_level_is_taken_before_the_command_too_and_info_names_the_bottleneck() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let arguments = ["--log-level", "info", "predict", &example(), "-q", "-o", output];
    let run = run(&arguments).ok();
    assert!(run.stderr.contains(" INFO ") && run.stderr.contains("bottleneck ("), "{}", run.stderr);
    assert!(!run.stderr.contains("DEBUG"));
}

#[test]
fn quiet_run_prints_nothing() {
    let run = predict(&["--quiet"]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}
