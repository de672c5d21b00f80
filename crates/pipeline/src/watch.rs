//! The instruments of the threads that read and translate.
//!
//! Owns the names of these stages and the advice for each. Entry function: [`supervise`].

use std::sync::Arc;

use virnucpro_runner::monitor::{Monitor, StageMeter, StageRole, StageSpec};
use virnucpro_seq::{SeqActivity, SeqStage, Supervision, Watch};

struct Meters {
    read: StageMeter,
    parse: StageMeter,
    /// `None` where nothing is translated.
    translate: Option<StageMeter>,
}

/// Threads that `monitor` has meters for; `translate_threads` of them translate, if any.
pub(crate) fn supervise(monitor: &Monitor, translate_threads: Option<usize>) -> Supervision {
    let stage = |name, workers, advice| {
        monitor.stage(StageSpec { name, workers, role: StageRole::Loader, advice })
    };
    let read = "the input comes slower than it is used; put it on a faster disk, or decompress it \
                beforehand";
    let parse = "give the records as FASTA with one line a sequence, which is quickest to parse";
    Supervision::watched(Arc::new(Meters {
        read: stage("read", 1, read),
        parse: stage("parse", 1, parse),
        translate: translate_threads.map(|threads| stage("translate", threads, "raise --threads")),
    }))
}

impl Watch for Meters {
    fn during(&self, stage: SeqStage, activity: SeqActivity, work: &mut dyn FnMut()) {
        let (meter, name) = match (stage, &self.translate) {
            (SeqStage::Read, _) => (&self.read, "read"),
            (SeqStage::Parse, _) => (&self.parse, "parse"),
            (SeqStage::Translate, Some(meter)) => (meter, "translate"),
            (SeqStage::Translate, None) => return work(),
        };
        match activity {
            SeqActivity::Busy => meter.busy(name, &[], work),
            SeqActivity::WaitIn => meter.wait_in(work),
            SeqActivity::Interrupted => meter.interrupted(work),
            SeqActivity::WaitOut => meter.wait_out(work),
        }
    }
}
