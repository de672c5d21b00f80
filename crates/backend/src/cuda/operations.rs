//! The domain operations as launches: geometry and arguments of every kernel.

use super::activation::CudaActivation;
use super::batch::CudaBatch;
use super::launch::{Arg, Geometry};
use super::profile::family;
use super::source::{ATTENTION_TILE, KEY_GROUP, KernelFile};
use super::tensor_map::TensorMap;
use super::weights::{CudaTable, CudaVector};
use super::{CudaBackend, CudaError};
use crate::{AttentionSpec, BackendError, PoolSpec, Precision, RotarySpec, TokenDropout};

pub(super) const WARP: usize = 32;
/// Threads of a block whose warps work alone.
pub(super) const BLOCK: usize = 256;
/// Most threads of a block that normalises rows; matches `MAX_THREADS` of layer_norm.cu.
const NORM_THREADS: usize = 1024;

pub(super) fn pointer_or_null(address: Option<u64>) -> Arg {
    Arg::Pointer(address.unwrap_or(0))
}

impl CudaBackend {
    pub(super) fn launch(
        &self,
        family: &'static str,
        file: KernelFile,
        name: &'static str,
        geometry: Geometry,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        let kernel = self.kernels.get(file, name)?;
        self.profile.family(&self.context, &self.compute, family, || {
            // SAFETY: every caller, here and in linear.rs, passes the arguments in the order and the type of
            // the kernel's own list, with pointers into operands whose extents it has checked;
            // they belong to the arena, to weights or to a batch, none of which is given to
            // anybody else before work queued later on the same stream.
            unsafe { kernel.launch(&self.compute, geometry, args) }
        })
    }

    /// Refuses a result, which is f32, where the kernels expect the device's own elements.
    pub(super) fn expect_elements(
        &self,
        op: &'static str,
        x: &CudaActivation,
    ) -> Result<(), BackendError> {
        let (found, expected) = (x.element.size_bytes(), self.precision.size_bytes());
        BackendError::expect(op, "bytes of an element", found, expected)
    }

    /// An activation `[rows, cols]` with unspecified contents.
    pub(super) fn take(
        &self,
        rows: usize,
        cols: usize,
        element: Precision,
    ) -> Result<CudaActivation, CudaError> {
        let piece = self.arena.take(rows * cols * element.size_bytes())?;
        Ok(CudaActivation {
            piece,
            rows,
            cols,
            element,
            not_finite: None,
            num_seqs: 0,
            moments: None,
        })
    }

    pub(super) fn look_up(
        &self,
        batch: &CudaBatch,
        table: &CudaTable,
        shift: Option<&CudaVector>,
        token_dropout: Option<TokenDropout>,
    ) -> Result<CudaActivation, BackendError> {
        let (id, position) = batch.largest_id;
        if id as usize >= table.rows {
            return Err(BackendError::TokenOutOfRange { id, position, rows: table.rows });
        }
        if let Some(shift) = shift {
            BackendError::expect("embed", "length of shift", shift.len, table.cols)?;
        }
        self.context.bind()?;
        let tokens = batch.total_tokens();
        let scales = token_dropout.map(|dropout| self.token_scales(batch, dropout)).transpose()?;
        let out = self.take(tokens, table.cols, self.precision)?;
        let blocks = tokens.div_ceil(BLOCK / WARP);
        self.launch(
            family::EMBED,
            KernelFile::Embed,
            "embed",
            Geometry::row(blocks, BLOCK),
            &[
                Arg::Pointer(batch.input_ids()),
                Arg::Pointer(table.values.address()),
                pointer_or_null(shift.map(|shift| shift.values.address())),
                pointer_or_null(scales.as_ref().map(|scales| scales.address())),
                Arg::Pointer(out.address()),
                Arg::count(tokens),
                Arg::count(table.cols),
            ],
        )?;
        Ok(out)
    }

    /// f32 factor of every token.
    fn token_scales(
        &self,
        batch: &CudaBatch,
        dropout: TokenDropout,
    ) -> Result<super::arena::Piece, CudaError> {
        let scales = self.arena.take(batch.total_tokens() * 4)?;
        let blocks = batch.num_seqs().div_ceil(BLOCK / WARP);
        let geometry = Geometry::row(blocks, BLOCK);
        self.launch(
            family::EMBED,
            KernelFile::Embed,
            "dropout_scale",
            geometry,
            &[
                Arg::Pointer(batch.input_ids()),
                Arg::Pointer(batch.cu_seqlens()),
                Arg::count(batch.num_seqs()),
                Arg::Int(i32::try_from(dropout.mask_token_id).unwrap_or(-1)),
                Arg::Float(dropout.train_mask_ratio),
                Arg::Pointer(scales.address()),
            ],
        )?;
        Ok(scales)
    }

    /// Normalises `x` into `out`, which may be `x` itself.
    pub(super) fn normalise(
        &self,
        x: &CudaActivation,
        gamma: &CudaVector,
        beta: &CudaVector,
        eps: f32,
        out: u64,
    ) -> Result<(), BackendError> {
        self.expect_elements("layer_norm", x)?;
        BackendError::expect("layer_norm", "length of gamma", gamma.len, x.cols)?;
        BackendError::expect("layer_norm", "length of beta", beta.len, x.cols)?;
        self.context.bind()?;
        if x.len() == 0 {
            return Ok(());
        }
        let vector = self.precision.vector();
        let is_whole = x.cols.is_multiple_of(vector) && x.cols / vector <= NORM_THREADS;
        let block = if is_whole { (x.cols / vector).next_multiple_of(WARP) } else { BLOCK };
        let resident = self.context.properties.multiprocessors * (NORM_THREADS / block);
        let geometry = Geometry::row(resident.min(x.rows), block);
        Ok(self.launch(
            family::LAYER_NORM,
            KernelFile::LayerNorm,
            "layer_norm",
            geometry,
            &[
                Arg::Pointer(x.address()),
                Arg::Pointer(gamma.values.address()),
                Arg::Pointer(beta.values.address()),
                Arg::Pointer(out),
                Arg::count(x.rows),
                Arg::count(x.cols),
                Arg::Float(eps),
            ],
        )?)
    }

    pub(super) fn expect_rotary(
        &self,
        batch: &CudaBatch,
        RotarySpec { num_heads, head_dim, .. }: RotarySpec,
        qkv: &CudaActivation,
    ) -> Result<(), BackendError> {
        self.expect_elements("rotary", qkv)?;
        BackendError::expect("rotary", "remainder of head_dim by 2", head_dim % 2, 0)?;
        BackendError::expect("rotary", "columns of qkv", qkv.cols, 3 * num_heads * head_dim)?;
        BackendError::expect("rotary", "rows of qkv", qkv.rows, batch.total_tokens())
    }

    pub(super) fn rotate(
        &self,
        batch: &CudaBatch,
        spec: RotarySpec,
        qkv: &CudaActivation,
    ) -> Result<(), BackendError> {
        let RotarySpec { num_heads, head_dim, base } = spec;
        self.expect_rotary(batch, spec, qkv)?;
        self.context.bind()?;
        if qkv.len() == 0 {
            return Ok(());
        }
        let table = self.rotary_table(head_dim, base, batch.max_seqlen)?;
        let (half, vector) = (head_dim / 2, self.precision.vector());
        // A thread then stays with the same dimensions from head to head.
        let unit = if half.is_multiple_of(vector) { half / vector } else { WARP };
        let block = unit * (128 / unit).max(1);
        let geometry = Geometry::row(qkv.rows, block);
        Ok(self.launch(
            family::ROTARY,
            KernelFile::Rotary,
            "rotary",
            geometry,
            &[
                Arg::Pointer(qkv.address()),
                Arg::Pointer(batch.position_ids()),
                Arg::Pointer(table.buffer.address()),
                Arg::count(qkv.rows),
                Arg::count(num_heads),
                Arg::count(head_dim),
            ],
        )?)
    }

    /// Fills a table of cosines and sines `[positions, head_dim / 2, 2]`.
    pub(super) fn fill_rotary_table(
        &self,
        table: u64,
        positions: usize,
        head_dim: usize,
        base: f32,
    ) -> Result<(), CudaError> {
        let geometry = Geometry::row(BLOCK, BLOCK);
        self.launch(
            family::ROTARY,
            KernelFile::Rotary,
            "rotary_table",
            geometry,
            &[Arg::Pointer(table), Arg::count(positions), Arg::count(head_dim), Arg::Float(base)],
        )
    }

    pub(super) fn attend(
        &self,
        batch: &CudaBatch,
        spec: AttentionSpec<'_>,
        qkv: &CudaActivation,
        out: &CudaActivation,
    ) -> Result<(), BackendError> {
        let (tokens, width) = (batch.total_tokens(), spec.num_heads * spec.head_dim);
        self.expect_elements("attention", qkv)?;
        self.expect_elements("attention", out)?;
        BackendError::expect("attention", "columns of qkv", qkv.cols, 3 * width)?;
        BackendError::expect("attention", "rows of qkv", qkv.rows, tokens)?;
        BackendError::expect("attention", "columns of out", out.cols, width)?;
        BackendError::expect("attention", "rows of out", out.rows, tokens)?;
        if let Some(slopes) = spec.alibi_slopes {
            BackendError::expect("attention", "number of slopes", slopes.len(), spec.num_heads)?;
        }
        let file = self.attention_file(spec)?;
        self.context.bind()?;
        let slopes = spec.alibi_slopes.map(|slopes| self.slopes(slopes)).transpose()?;
        let slopes = pointer_or_null(slopes.as_ref().map(|slopes| slopes.address()));
        let launch = |file: KernelFile, name, pieces: usize, args: &[Arg]| {
            let geometry = Geometry {
                grid: (pieces * spec.num_heads, 1),
                block: 2 * ATTENTION_TILE,
                shared_bytes: file.dynamic_shared_bytes(self.precision),
            };
            let more = [Arg::count(spec.num_heads), Arg::Float(spec.softmax_scale), slopes];
            self.launch(family::ATTENTION, file, name, geometry, &[args, &more].concat())
        };
        let resident = file.resident();
        let (tiles, num_tiles) = if resident.is_some() { batch.streamed() } else { batch.tiles() };
        let [from, to] = [qkv, out].map(|matrix| Arg::Pointer(matrix.address()));
        let args = [from, to, Arg::Pointer(batch.cu_seqlens()), Arg::Pointer(tiles)];
        launch(file, "attention", num_tiles, &args)?;
        let (sequences, num_sequences) = batch.resident();
        if let Some(file) = resident.filter(|_| num_sequences > 0) {
            let boxes = |rows| TensorMap::new(qkv.address(), tokens, qkv.cols, rows).map(Arg::Map);
            let args = [boxes(ATTENTION_TILE)?, boxes(KEY_GROUP)?, to, Arg::Pointer(sequences)];
            launch(file, "attention_resident", num_sequences, &args)?;
        }
        Ok(())
    }

    pub(super) fn gate(
        &self,
        x: &CudaActivation,
        out: &CudaActivation,
    ) -> Result<(), BackendError> {
        let width = out.cols;
        self.expect_elements("gated_gelu", x)?;
        self.expect_elements("gated_gelu", out)?;
        BackendError::expect("gated_gelu", "columns of x", x.cols, 2 * width)?;
        BackendError::expect("gated_gelu", "rows of out", out.rows, x.rows)?;
        self.context.bind()?;
        let vector = self.precision.vector();
        let items = if width.is_multiple_of(vector) { width / vector } else { width };
        let block = (WARP * items.div_ceil(2 * WARP)).clamp(WARP, 512);
        let geometry = Geometry::row(x.rows, block);
        Ok(self.launch(
            family::GELU,
            KernelFile::Gelu,
            "gated_gelu",
            geometry,
            &[
                Arg::Pointer(x.address()),
                Arg::Pointer(out.address()),
                Arg::count(x.rows),
                Arg::count(width),
            ],
        )?)
    }

    pub(super) fn pool_rows(
        &self,
        batch: &CudaBatch,
        spec: PoolSpec,
        hidden: &CudaActivation,
    ) -> Result<CudaActivation, BackendError> {
        self.expect_elements("pool", hidden)?;
        BackendError::expect("pool", "rows of hidden_states", hidden.rows, batch.total_tokens())?;
        let count = |value: usize| Arg::Int(i32::try_from(value).unwrap_or(i32::MAX));
        let (name, extra) = match spec {
            PoolSpec::First => ("first_token", Vec::new()),
            PoolSpec::Mean { skip_first, skip_last, max_tokens } => {
                ("mean_pool", [skip_first, skip_last, max_tokens].map(count).to_vec())
            }
        };
        let sequences = batch.num_seqs();
        let cu_seqlens = batch.cu_seqlens();
        Ok(self.results(name, hidden, cu_seqlens, sequences, sequences, &extra)?)
    }

    /// Every row of `hidden` in f32, with a flag per sequence of the batch.
    pub(super) fn widen(
        &self,
        batch: &CudaBatch,
        hidden: &CudaActivation,
    ) -> Result<CudaActivation, BackendError> {
        self.expect_elements("widen", hidden)?;
        BackendError::expect("widen", "rows of hidden_states", hidden.rows, batch.total_tokens())?;
        let (cu_seqlens, sequences) = (batch.cu_seqlens(), batch.num_seqs());
        Ok(self.results("widen_rows", hidden, cu_seqlens, sequences, hidden.rows, &[])?)
    }

    /// Runs one of the kernels of pool.cu.
    pub(super) fn results(
        &self,
        name: &'static str,
        hidden: &CudaActivation,
        cu_seqlens: u64,
        sequences: usize,
        rows: usize,
        extra: &[Arg],
    ) -> Result<CudaActivation, CudaError> {
        self.context.bind()?;
        let mut out = self.take(rows, hidden.cols, Precision::F32)?;
        let flags = self.arena.take(sequences * 4)?;
        // SAFETY: the piece is at least as large.
        unsafe { self.compute.fill(flags.address(), 0, sequences * 4) }?;
        let geometry = Geometry {
            grid: (sequences, hidden.cols.div_ceil(WARP * self.precision.vector())),
            block: BLOCK,
            shared_bytes: 0,
        };
        let mut args = vec![
            Arg::Pointer(hidden.address()),
            Arg::Pointer(cu_seqlens),
            Arg::count(sequences),
            Arg::count(hidden.cols),
        ];
        args.extend_from_slice(extra);
        args.extend([Arg::Pointer(out.address()), Arg::Pointer(flags.address())]);
        self.launch(family::POOL, KernelFile::Pool, name, geometry, &args)?;
        out.not_finite = Some(flags);
        out.num_seqs = sequences;
        Ok(out)
    }
}
