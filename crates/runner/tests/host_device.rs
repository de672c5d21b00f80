//! A batch that the host divides between its threads gives the result of the whole batch.

use std::sync::Arc;

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Bundle, Pooling};
use virnucpro_runner::{EncoderTask, Encoders, HostDevice, Retrieved};

fn retrieved(threads: usize, pooling: Pooling, batch: &PackedBatch) -> Vec<Retrieved> {
    let backend = Arc::new(CpuBackend::new(threads).expect("threads"));
    let bundle = Bundle::mini().expect("it is in the program");
    let sources = [bundle.nucleotide_encoder(), bundle.protein_encoder()];
    let tasks = sources.map(|source| {
        let source = source.expect("an encoder of the bundle");
        let layer = source.config().num_hidden_layers();
        EncoderTask { encoder: source.load(&*backend).expect("f32 on the host"), layer, pooling }
    });
    let encoders = Encoders { tasks: tasks.into() };
    let device = HostDevice::new(backend);
    let compute = |task| encoders.compute_now(&device, task, batch).expect("a valid batch");
    (0..2).map(compute).collect()
}

#[test]
fn host_device_divides_a_batch_without_changing_a_bit_of_it() {
    let sequences: Vec<_> = (0..17u64)
        .map(|id| {
            let tokens = 40 + 37 * id as u32 % 160;
            let input_ids = (0..tokens).map(|token| 4 + (token + id as u32) % 20).collect();
            TokenizedSequence { sequence_id: SequenceId(id), input_ids }
        })
        .collect();
    let batch = PackedBatch::from_sequences(&sequences).unwrap();
    assert!(batch.total_tokens() > 1536, "enough for three parts");
    for pooling in [Pooling::Mean, Pooling::Bos, Pooling::None] {
        let whole = retrieved(1, pooling, &batch);
        for threads in [2, 3] {
            assert!(retrieved(threads, pooling, &batch) == whole, "{threads} threads, {pooling:?}");
        }
        let flags: Vec<usize> = whole.iter().map(|result| result.is_finite.len()).collect();
        assert_eq!(flags, [17, 17]);
    }
}
