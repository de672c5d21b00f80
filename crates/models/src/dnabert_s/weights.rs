//! The tensors of a DNABERT-S checkpoint: found, checked, then put on the device.

use virnucpro_backend::{Backend, TensorView};
use virnucpro_weights::{Checkpoint, NamePattern, TensorReader};

use super::DnabertSConfig;
use crate::ModelError;
use crate::stored::{Norm, linear, norm, take_linear, take_norm};

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
fn left_over() -> [NamePattern<'static>; 6] {
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
fn root_of(checkpoint: &Checkpoint) -> &'static str {
    let has_root = checkpoint.names().any(|name| name.starts_with("bert.embeddings."));
    if has_root { "bert." } else { "" }
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

/// Every tensor of the model, checked, still in the file.
pub(crate) struct StoredWeights<'a> {
    word_embeddings: TensorView<'a>,
    token_types: TensorView<'a>,
    embedding_norm: [TensorView<'a>; 2],
    layers: Vec<StoredLayer<'a>>,
}

impl<'a> StoredWeights<'a> {
    /// Checks every tensor's name, shape and type against the settings.
    pub(crate) fn take(
        checkpoint: &'a Checkpoint,
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
        // Not reserved: the number of layers is only believed once each of them was found.
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let prefix = format!("{root}encoder.layer.{layer}.");
            layers.push(StoredLayer::take(&mut reader, &prefix, config)?);
        }
        reader.finish(&left_over())?;
        Ok(Self { word_embeddings, token_types, embedding_norm, layers })
    }

    pub(super) fn upload<B: Backend>(&self, backend: &B) -> Result<Weights<B>, ModelError> {
        let layers = self.layers.iter().map(|layer| layer.upload(backend));
        let hidden = self.token_types.shape()[1];
        Ok(Weights {
            word_embeddings: backend.table(&self.word_embeddings)?,
            token_type: backend.vector(&self.token_types.to_f32_vec()?[..hidden])?,
            embedding_norm: norm(backend, &self.embedding_norm)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }
}

/// Pairs of a stored name and the same name as a bare encoder has it, for every tensor that the
/// model uses.
pub(crate) fn to_bare_names(checkpoint: &Checkpoint) -> Vec<(String, String)> {
    let (root, left_over) = (root_of(checkpoint), left_over());
    let used = checkpoint.names().filter(|name| !left_over.iter().any(|p| p.matches(name)));
    used.map(|name| (name.to_owned(), name.strip_prefix(root).unwrap_or(name).to_owned())).collect()
}

/// Name and extents of every tensor that the model uses.
pub(crate) fn tensor_shapes(config: &DnabertSConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let mut shapes = Vec::new();
    let mut tensor = |name: String, shape: &[usize]| shapes.push((name, shape.to_vec()));
    tensor("embeddings.word_embeddings.weight".into(), &[config.vocab_size, hidden]);
    tensor("embeddings.token_type_embeddings.weight".into(), &[config.type_vocab_size, hidden]);
    let mut biased = vec![("embeddings.LayerNorm".to_owned(), vec![hidden])];
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        tensor(name("mlp.gated_layers.weight"), &[2 * ffn, hidden]);
        biased.extend([
            (name("attention.self.Wqkv"), vec![3 * hidden, hidden]),
            (name("attention.output.dense"), vec![hidden, hidden]),
            (name("attention.output.LayerNorm"), vec![hidden]),
            (name("mlp.wo"), vec![hidden, ffn]),
            (name("mlp.layernorm"), vec![hidden]),
        ]);
    }
    for (name, shape) in biased {
        tensor(format!("{name}.weight"), &shape);
        tensor(format!("{name}.bias"), &shape[..1]);
    }
    shapes
}
