//! Threads that are watched and stopped from outside.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use virnucpro_seq::{
    Input, MultiReader, SeqActivity, SeqStage, Supervision, Watch, translate_records_supervised,
};

#[derive(Default)]
struct Counter(Mutex<HashMap<(SeqStage, SeqActivity), usize>>);

impl Watch for Counter {
    fn during(&self, stage: SeqStage, activity: SeqActivity, work: &mut dyn FnMut()) {
        *self.0.lock().unwrap().entry((stage, activity)).or_default() += 1;
        work();
    }
}

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

#[test]
fn supervision_watches_every_stage_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.fa");
    std::fs::write(&path, format!(">a\n{}\n", "ACGTTGCA".repeat(100_000))).unwrap();
    let counter = Arc::new(Counter::default());
    let supervision = Supervision::watched(Arc::clone(&counter) as Arc<dyn Watch>);
    let records = MultiReader::open(vec![Input::from(&path)]).unwrap().supervised(&supervision);
    let units = translate_records_supervised(records, size(300), size(2), &supervision).unwrap();
    let chunks: usize = units.map(|unit| unit.unwrap().chunks.len()).sum();
    assert_eq!(chunks, 800_000_usize.div_ceil(300));
    let counts = counter.0.lock().unwrap();
    let of = |stage, activity| counts.get(&(stage, activity)).copied().unwrap_or_default();
    // 800 kB are four blocks, and seven batches of 128 ki letters.
    assert!(of(SeqStage::Read, SeqActivity::Busy) >= 4, "{counts:?}");
    assert_eq!(of(SeqStage::Read, SeqActivity::Busy), of(SeqStage::Read, SeqActivity::WaitOut));
    assert_eq!(of(SeqStage::Translate, SeqActivity::Busy), 7, "{counts:?}");
    assert_eq!(of(SeqStage::Parse, SeqActivity::WaitOut), 7, "{counts:?}");
    assert_eq!(of(SeqStage::Parse, SeqActivity::Busy), 8, "{counts:?}");
}

#[cfg(unix)]
#[test]
fn supervision_stopped_ends_a_read_from_a_silent_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let supervision = Supervision::default();
    let records = MultiReader::open(vec![Input::from(&path)]).unwrap().supervised(&supervision);
    let mut units =
        translate_records_supervised(records, size(300), size(2), &supervision).unwrap();
    // Open for as long as the test lasts, and nothing comes after this record.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut writer, b">a\nACGT\n").unwrap();
    supervision.stop();
    let failure = units.find_map(Result::err).unwrap().to_string();
    assert!(failure.contains("reading was stopped"), "{failure}");
    assert!(units.into_records().is_some(), "every thread has ended");
    drop(writer);
}

#[test]
fn supervision_knows_of_a_failure_before_it_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reads.fq");
    std::fs::write(&path, "@a\nACGT\n+\nIIII\n@b\nACGT\n+\nII\n").unwrap();
    let supervision = Supervision::default();
    let records = MultiReader::open(vec![Input::from(&path)]).unwrap().supervised(&supervision);
    assert!(!supervision.has_failed());
    let units = translate_records_supervised(records, size(300), size(2), &supervision).unwrap();
    while !supervision.has_failed() {
        std::thread::yield_now();
    }
    let ends: Vec<_> = units.map(|unit| unit.is_ok()).collect();
    assert_eq!(ends, [true, false], "it comes in its place all the same");
}
