//! The contract between models and devices.

use crate::{
    AttentionSpec, BackendError, DType, Epilogue, NormWeights, NormedLinear, PackedView, PoolSpec,
    RotarySpec, TensorView, TokenDropout,
};

/// A device that runs the domain operations of packed transformer encoders.
///
/// Model code is written once over this trait. Every activation is a row-major matrix
/// `[rows, cols]` whose element type the backend chooses; `rows` is `total_tokens` of the packed
/// batch unless said otherwise. There is no padding anywhere: sequence boundaries come from
/// `cu_seqlens`, and no operation reads across them.
///
/// Every operation is batch-invariant: the bits of a row depend on its own sequence and the
/// weights, not on which other sequences share the batch.
pub trait Backend: Send + Sync + Sized {
    /// The weight matrix `[out_features, in_features]` of a linear layer, with its optional bias.
    type Linear: Send + Sync;
    /// An embedding table `[vocab, hidden_size]`.
    type Table: Send + Sync;
    /// A vector of weights `[n]` (LayerNorm scale or shift, one embedding row).
    type Vector: Send + Sync;
    /// The integer arrays of one packed batch, on the device.
    type Batch: Send;
    /// A matrix of activations.
    type Activation: Send;

    /// Name of the device as it is reported to users, such as `cpu (2 threads)`.
    fn device_name(&self) -> String;

    /// Runs `work` where operations start cheapest, such as on the worker threads of the host.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    /// [`Backend::run`] on `batch`, or beside each other on parts of it that keep sequences whole;
    /// returns one result a part, in the order of the sequences.
    fn run_parts<R: Send>(
        &self,
        batch: Self::Batch,
        work: impl Fn(&Self::Batch) -> R + Send + Sync,
    ) -> Vec<R> {
        self.run(move || vec![work(&batch)])
    }

    /// Refuses attention that this device cannot run on packed batches.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] naming what is missing.
    fn check_attention(&self, _spec: AttentionSpec<'_>) -> Result<(), BackendError> {
        Ok(())
    }

    /// Waits until everything asked of the device so far is done.
    ///
    /// # Errors
    /// A failure of the device since the last time.
    fn synchronize(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Whether each row of `x` is free of NaN and infinity, found on the device.
    ///
    /// # Errors
    /// The device's own failure.
    fn finite_rows(&self, x: &Self::Activation) -> Result<Vec<bool>, BackendError>;

    /// Makes a linear layer from stored weights.
    ///
    /// Several `[out_i, in_features]` weights are stacked along the output; `biases` is empty (no
    /// bias) or holds one `[out_i]` for each weight.
    ///
    /// # Errors
    /// Shapes that do not stack, or an element type that is not floating point.
    fn linear_weights(
        &self,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<Self::Linear, BackendError>;

    /// Makes a linear layer behind a LayerNorm from stored weights, which stack as in
    /// [`Backend::linear_weights`].
    ///
    /// # Shape
    /// Norm `[in_features]`, weights `[out_i, in_features]`, biases none or `[out_i]` each.
    ///
    /// # Errors
    /// Shapes that do not fit, or an element type that is not floating point.
    fn normed_linear_weights(
        &self,
        norm: NormWeights<'_>,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<NormedLinear<Self>, BackendError> {
        NormedLinear::as_stored(self, norm, weights, biases)
    }

    /// Makes an embedding table from `[vocab, hidden_size]`.
    ///
    /// # Errors
    /// A shape that is not two-dimensional, or an element type that is not floating point.
    fn table(&self, table: &TensorView<'_>) -> Result<Self::Table, BackendError>;

    /// Makes an embedding table from activations, whose elements it keeps.
    ///
    /// # Shape
    /// `rows` `[vocab, hidden_size]`.
    ///
    /// # Errors
    /// The device's own failure.
    fn table_of(&self, rows: &Self::Activation) -> Result<Self::Table, BackendError> {
        let (vocab, hidden_size) = self.shape(rows);
        let values = self.download(rows)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(DType::F32, vec![vocab, hidden_size], &bytes);
        self.table(&view.expect("the bytes were made for the shape"))
    }

    /// Makes a weight vector from f32 values.
    ///
    /// # Errors
    /// The device's own failure to hold it.
    fn vector(&self, values: &[f32]) -> Result<Self::Vector, BackendError>;

    /// Brings the arrays of a packed batch to the device, each exactly once.
    ///
    /// # Errors
    /// The device's own failure to hold them.
    fn upload(&self, batch: PackedView<'_>) -> Result<Self::Batch, BackendError>;

    /// A number that changes whenever the device changes how it computes, and with it the last
    /// bits of results.
    fn generation(&self) -> u64 {
        0
    }

    /// The largest of the batch's `input_ids`; 0 for a batch without tokens.
    fn largest_token(&self, batch: &Self::Batch) -> u32;

    /// Makes an activation from f32 values, row-major `[rows, cols]`.
    ///
    /// # Errors
    /// A length that is not `rows × cols`.
    fn activation(
        &self,
        rows: usize,
        cols: usize,
        values: &[f32],
    ) -> Result<Self::Activation, BackendError>;

    /// Makes an activation `[rows, cols]` with unspecified contents.
    ///
    /// # Errors
    /// The device's own failure to hold it.
    fn scratch(&self, rows: usize, cols: usize) -> Result<Self::Activation, BackendError>;

    /// `[rows, cols]` of an activation.
    fn shape(&self, x: &Self::Activation) -> (usize, usize);

    /// Copies an activation to the host, row-major f32.
    ///
    /// # Errors
    /// The device's own failure.
    fn download(&self, x: &Self::Activation) -> Result<Vec<f32>, BackendError>;

    /// Looks up `input_ids`: `out[t] = table[input_ids[t]]·scale + shift`.
    ///
    /// `shift` is one row added to every token (token type 0 of BERT); `token_dropout` gives the
    /// scale per sequence, 1 without it.
    ///
    /// # Shape
    /// `table` `[vocab, hidden_size]`, `shift` `[hidden_size]`, result
    /// `[total_tokens, hidden_size]`.
    ///
    /// # Errors
    /// An id outside the table.
    fn embed(
        &self,
        batch: &Self::Batch,
        table: &Self::Table,
        shift: Option<&Self::Vector>,
        token_dropout: Option<TokenDropout>,
    ) -> Result<Self::Activation, BackendError>;

    /// Normalises each row of `x` to mean 0 and variance 1, then scales and shifts it.
    ///
    /// # Shape
    /// `x` and `out` `[rows, hidden_size]`, `gamma` and `beta` `[hidden_size]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    ///
    /// # Source
    /// Ba et al. 2016; biased variance, `eps` inside the root.
    fn layer_norm(
        &self,
        x: &Self::Activation,
        gamma: &Self::Vector,
        beta: &Self::Vector,
        eps: f32,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError>;

    /// [`Backend::layer_norm`] with the result stored over its input.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn layer_norm_in_place(
        &self,
        x: &mut Self::Activation,
        gamma: &Self::Vector,
        beta: &Self::Vector,
        eps: f32,
    ) -> Result<(), BackendError>;

    /// Linear layer with its epilogue.
    ///
    /// # Shape
    /// `x` `[rows, in_features]`, `out` `[rows, out_features]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn linear(
        &self,
        x: &Self::Activation,
        layer: &Self::Linear,
        epilogue: Epilogue,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError>;

    /// [`Backend::layer_norm`], then [`Backend::linear`]; devices may do both in one pass. What
    /// `normed` holds afterwards is unspecified.
    ///
    /// # Shape
    /// `x` and `normed` `[rows, in_features]`, `out` `[rows, out_features]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn normed_linear(
        &self,
        x: &Self::Activation,
        layer: &NormedLinear<Self>,
        epilogue: Epilogue,
        normed: &mut Self::Activation,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError> {
        self.layer_norm(x, &layer.gamma, &layer.beta, layer.eps, normed)?;
        self.linear(normed, &layer.linear, epilogue, out)
    }

    /// [`Backend::layer_norm`], then [`Backend::linear_rotary`], as [`Backend::normed_linear`].
    ///
    /// # Shape
    /// `x` and `normed` `[total_tokens, in_features]`, `qkv`
    /// `[total_tokens, 3 × num_heads × head_dim]`, columns ordered (q|k|v)(head)(dim).
    ///
    /// # Errors
    /// Extents that do not fit, or an odd head width.
    fn normed_linear_rotary(
        &self,
        batch: &Self::Batch,
        x: &Self::Activation,
        layer: &NormedLinear<Self>,
        spec: RotarySpec,
        normed: &mut Self::Activation,
        qkv: &mut Self::Activation,
    ) -> Result<(), BackendError> {
        self.layer_norm(x, &layer.gamma, &layer.beta, layer.eps, normed)?;
        self.linear_rotary(batch, normed, &layer.linear, spec, qkv)
    }

    /// Rotates q and k in place by their position.
    ///
    /// # Shape
    /// `qkv` `[total_tokens, 3 × num_heads × head_dim]`, columns ordered (q|k|v)(head)(dim).
    ///
    /// # Errors
    /// Extents that do not fit, or an odd head width.
    fn rotary(
        &self,
        batch: &Self::Batch,
        spec: RotarySpec,
        qkv: &mut Self::Activation,
    ) -> Result<(), BackendError>;

    /// [`Backend::linear`] without an epilogue, then [`Backend::rotary`]; devices may do both in
    /// one pass.
    ///
    /// # Shape
    /// `x` `[total_tokens, in_features]`, `qkv`
    /// `[total_tokens, 3 × num_heads × head_dim]`, columns ordered (q|k|v)(head)(dim).
    ///
    /// # Errors
    /// Extents that do not fit, or an odd head width.
    fn linear_rotary(
        &self,
        batch: &Self::Batch,
        x: &Self::Activation,
        layer: &Self::Linear,
        spec: RotarySpec,
        qkv: &mut Self::Activation,
    ) -> Result<(), BackendError> {
        self.linear(x, layer, Epilogue::Store, qkv)?;
        self.rotary(batch, spec, qkv)
    }

    /// Softmax attention of each sequence over itself, softmax in f32.
    ///
    /// # Shape
    /// `qkv` `[total_tokens, 3 × num_heads × head_dim]`, columns ordered (q|k|v)(head)(dim);
    /// `out` `[total_tokens, num_heads × head_dim]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn attention(
        &self,
        batch: &Self::Batch,
        spec: AttentionSpec<'_>,
        qkv: &Self::Activation,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError>;

    /// Gated GELU: the exact GELU of the first half of each row times its second half.
    ///
    /// # Shape
    /// `x` `[rows, 2 × intermediate_size]`, `out` `[rows, intermediate_size]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn gated_gelu(
        &self,
        x: &Self::Activation,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError>;

    /// [`Backend::linear`] without an epilogue, then [`Backend::gated_gelu`]; devices may do both in
    /// one pass. What `gated` holds afterwards is unspecified.
    ///
    /// # Shape
    /// `x` `[rows, in_features]`, `gated` `[rows, 2 × intermediate_size]`, `out`
    /// `[rows, intermediate_size]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn linear_gated(
        &self,
        x: &Self::Activation,
        layer: &Self::Linear,
        gated: &mut Self::Activation,
        out: &mut Self::Activation,
    ) -> Result<(), BackendError> {
        self.linear(x, layer, Epilogue::Store, gated)?;
        self.gated_gelu(gated, out)
    }

    /// Pools the hidden states of each sequence, accumulating in f32 or wider.
    ///
    /// # Shape
    /// `hidden_states` `[total_tokens, hidden_size]`, result `[num_seqs, hidden_size]`.
    ///
    /// # Errors
    /// Extents that do not fit.
    fn pool(
        &self,
        batch: &Self::Batch,
        spec: PoolSpec,
        hidden_states: &Self::Activation,
    ) -> Result<Self::Activation, BackendError>;
}
