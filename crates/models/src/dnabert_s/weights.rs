//! The tensors of a DNABERT-S checkpoint: found, checked, then put on the device.

use virnucpro_backend::{Backend, TensorView};
use virnucpro_weights::{Checkpoint, NamePattern, TensorReader};

use super::DnabertSConfig;
use crate::ModelError;
use crate::files::{Norm, linear, norm, take_linear, take_norm};

/// One layer on the device.
pub(super) struct Layer<B: Backend> {
    pub(super) qkv: B::Linear,
    pub(super) attention_output: B::Linear,
    pub(super) attention_norm: Norm<B>,
    /// Gate and value stacked: `[2 × intermediate_size, hidden_size]`, no bias.
    pub(super) gated_layers: B::Linear,
    pub(super) mlp_output: B::Linear,
    pub(super) mlp_norm: Norm<B>,
}

/// All weights on the device.
pub(super) struct Weights<B: Backend> {
    pub(super) word_embeddings: B::Table,
    /// Row 0 of the token-type table.
    pub(super) token_type: B::Vector,
    pub(super) embedding_norm: Norm<B>,
    pub(super) layers: Vec<Layer<B>>,
}

/// Checked views of one layer, still in the file.
struct StoredLayer<'a> {
    qkv: [TensorView<'a>; 2],
    attention_output: [TensorView<'a>; 2],
    attention_norm: [TensorView<'a>; 2],
    gated_layers: TensorView<'a>,
    mlp_output: [TensorView<'a>; 2],
    mlp_norm: [TensorView<'a>; 2],
}

/// Tensors that belong to no part of the forward: the pooler, the masked-language head and
/// buffers.
pub(crate) fn left_over() -> [NamePattern<'static>; 6] {
    [
        NamePattern::Prefix("pooler."),
        NamePattern::Prefix("bert.pooler."),
        NamePattern::Prefix("cls."),
        NamePattern::Suffix("embeddings.position_ids"),
        NamePattern::Suffix("embeddings.token_type_ids"),
        NamePattern::Suffix("encoder.alibi"),
    ]
}

/// Prefix the encoder stands under: none, or `bert.` in checkpoints with a head.
pub(crate) fn root_of(checkpoint: &Checkpoint) -> &'static str {
    if checkpoint.contains("bert.embeddings.word_embeddings.weight") { "bert." } else { "" }
}

impl<'a> StoredLayer<'a> {
    fn take(
        reader: &mut TensorReader<'a>,
        prefix: &str,
        config: &DnabertSConfig,
    ) -> Result<Self, ModelError> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("{prefix}{part}");
        Ok(Self {
            qkv: take_linear(reader, &name("attention.self.Wqkv"), [3 * hidden, hidden])?,
            attention_output: take_linear(
                reader,
                &name("attention.output.dense"),
                [hidden, hidden],
            )?,
            attention_norm: take_norm(reader, &name("attention.output.LayerNorm"), hidden)?,
            gated_layers: reader.take(&name("mlp.gated_layers.weight"), &[2 * ffn, hidden])?,
            mlp_output: take_linear(reader, &name("mlp.wo"), [hidden, ffn])?,
            mlp_norm: take_norm(reader, &name("mlp.layernorm"), hidden)?,
        })
    }

    fn upload<B: Backend>(&self, backend: &B) -> Result<Layer<B>, ModelError> {
        Ok(Layer {
            qkv: linear(backend, &self.qkv)?,
            attention_output: linear(backend, &self.attention_output)?,
            attention_norm: norm(backend, &self.attention_norm)?,
            gated_layers: backend.linear_weights(std::slice::from_ref(&self.gated_layers), &[])?,
            mlp_output: linear(backend, &self.mlp_output)?,
            mlp_norm: norm(backend, &self.mlp_norm)?,
        })
    }
}

impl<B: Backend> Weights<B> {
    /// Checks every tensor's name, shape and type, and only then uploads the first.
    pub(super) fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        config: &DnabertSConfig,
    ) -> Result<Self, ModelError> {
        let root = root_of(checkpoint);
        let hidden = config.hidden_size;
        let mut reader = checkpoint.reader();
        let table = |part: &str| format!("{root}embeddings.{part}.weight");
        let word_embeddings =
            reader.take(&table("word_embeddings"), &[config.vocab_size, hidden])?;
        let token_types =
            reader.take(&table("token_type_embeddings"), &[config.type_vocab_size, hidden])?;
        let embedding_norm =
            take_norm(&mut reader, &format!("{root}embeddings.LayerNorm"), hidden)?;
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let prefix = format!("{root}encoder.layer.{layer}.");
            layers.push(StoredLayer::take(&mut reader, &prefix, config)?);
        }
        reader.finish(&left_over())?;

        Ok(Self {
            word_embeddings: backend.table(&word_embeddings)?,
            token_type: backend.vector(&token_types.to_f32_vec()?[..hidden])?,
            embedding_norm: norm(backend, &embedding_norm)?,
            layers: layers.iter().map(|layer| layer.upload(backend)).collect::<Result<_, _>>()?,
        })
    }
}
