//! Choosing a plan: by time, among those whose results do not depend on the number of rows.

use cudarc::cublaslt::sys;

use super::super::CudaError;
use super::super::arena::Piece;
use super::super::stream::{Event, Stream};
use super::plan::{Description, Plan};
use super::{Gemm, GemmShape, Operands, WORKSPACE_BYTES, version};

/// Ways that are timed for each shape; cuBLASLt 13.1 offers 8 for those of ESM-2 3B on an H100.
const CANDIDATES: usize = 24;
/// Timed runs of each way, after one that warms up.
const RUNS: usize = 4;
/// Ways that are timed once more for a choice that lasts.
const FINALISTS: usize = 6;
/// Rounds in which the finalists take turns, after one that warms the chip up.
const ROUNDS: usize = 3;
/// Time of a finalist in a round, in milliseconds.
const LONG_MS: f64 = 40.0;

/// How much time a plan is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// A few runs: to compare batch sizes.
    Quick,
    /// As long as it takes a chip to reach its power limit, where a way that moves less data can be
    /// the faster one: on an H100 at 700 W the way that was fastest in a few runs once lost 9 %.
    Lasting,
}

/// Row counts whose results must equal those of the whole batch, bit for bit.
const PARTS: [usize; 3] = [1, 17, 200];

/// Fewest rows that a plan is tried with: the first batch may be a small one, the next one large.
const LEAST_ROWS: usize = 512;

/// How a plan came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanReport {
    /// Output features.
    pub m: usize,
    /// Input features.
    pub k: usize,
    /// Whether the product is added to what is there.
    pub accumulate: bool,
    /// Rows it was timed with.
    pub rows: usize,
    /// Milliseconds of the chosen way.
    pub chosen_ms: f64,
    /// Milliseconds of the fastest way without split sums, timed like the chosen one, whether or
    /// not its results depend on the rows.
    pub fastest_ms: f64,
    /// Ways that do not take every number of rows, or whose results depend on it.
    pub refused: usize,
    /// Whether it was read from disk.
    pub was_remembered: bool,
}

impl PlanReport {
    /// 10¹² operations a second of the chosen way.
    pub fn tflops(&self) -> f64 {
        2.0 * self.m as f64 * self.k as f64 * self.rows as f64 / self.chosen_ms / 1e9
    }
}

impl Gemm {
    /// Finds the plan for a shape, on disk or by trying.
    ///
    /// # Safety
    /// As for [`Gemm::multiply`]; `operands.out` is not written.
    pub(super) unsafe fn choose(
        &self,
        stream: &Stream,
        shape: GemmShape,
        operands: Operands,
    ) -> Result<Plan, CudaError> {
        let repeated;
        let operands = if operands.rows < LEAST_ROWS {
            // SAFETY: the caller's promise.
            repeated = unsafe { self.repeat(stream, shape, operands) }?;
            Operands { x: repeated.address(), rows: LEAST_ROWS, ..operands }
        } else {
            operands
        };
        let description = Description::new(shape, self.precision)?;
        description.fit(operands.rows, operands.bias)?;
        let care = self.care();
        let key = self.key(shape, operands.rows, care);
        if let Some((algo, report)) = self.recall(&key, shape)
            && description.accepts(&self.handle, WORKSPACE_BYTES, &algo)
        {
            return Ok(Plan::new(description, algo, report));
        }
        // SAFETY: the caller's promise.
        let (algo, report) = unsafe { self.try_all(stream, &description, operands, care) }?;
        self.remember(&key, &algo, &report);
        Ok(Plan::new(description, algo, report))
    }

    /// The rows of `x` again and again, [`LEAST_ROWS`] of them.
    ///
    /// # Safety
    /// As for [`Gemm::multiply`].
    unsafe fn repeat(
        &self,
        stream: &Stream,
        shape: GemmShape,
        operands: Operands,
    ) -> Result<Piece, CudaError> {
        let row_bytes = shape.k * self.precision.size_bytes();
        let (mut done, bytes) = (operands.rows * row_bytes, LEAST_ROWS * row_bytes);
        let rows = self.arena.take(bytes)?;
        // SAFETY: `x` has its rows, and there are fewer than fit the piece, of which twice as many
        // are filled by every copy.
        unsafe {
            stream.copy_on_device(rows.address(), operands.x, done)?;
            while done < bytes {
                let more = done.min(bytes - done);
                stream.copy_on_device(rows.address() + done as u64, rows.address(), more)?;
                done += more;
            }
        }
        Ok(rows)
    }

    /// # Safety
    /// As for [`Gemm::multiply`]; `operands.out` is not written.
    unsafe fn try_all(
        &self,
        stream: &Stream,
        description: &Description,
        operands: Operands,
        care: Care,
    ) -> Result<(sys::cublasLtMatmulAlgo_t, PlanReport), CudaError> {
        let shape = description.shape();
        let size = self.precision.size_bytes();
        let bytes = operands.rows * shape.m * size;
        let (whole, part) = (self.arena.take(bytes)?, self.arena.take(bytes)?);
        let trial = Operands { out: whole.address(), ..operands };
        let mut timed = Vec::new();
        let mut fastest_ms = f64::INFINITY;
        description.fit(operands.rows, operands.bias)?;
        for algo in description.candidates(&self.handle, WORKSPACE_BYTES, CANDIDATES)? {
            // SAFETY: the results go to memory of our own, as large as the shape says.
            let ms = unsafe { self.time(stream, description, &algo, trial, RUNS) };
            let ms = match ms {
                Ok(ms) => ms,
                // A way that is refused at run time is none.
                Err(CudaError::Blas { .. }) => continue,
                Err(error) => return Err(error),
            };
            fastest_ms = fastest_ms.min(ms);
            timed.push((ms, algo));
        }
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        if care == Care::Lasting {
            // SAFETY: as above.
            unsafe { self.time_longer(stream, description, &mut timed, trial) }?;
            fastest_ms = timed.first().map_or(fastest_ms, |fastest| fastest.0);
        }
        for (refused, (ms, algo)) in timed.into_iter().enumerate() {
            let parts = Operands { out: part.address(), ..operands };
            if !self.takes_any_rows(description, &algo, operands.bias)? {
                continue;
            }
            // SAFETY: as above.
            if unsafe { self.is_invariant(stream, description, &algo, trial, parts) }? {
                let GemmShape { m, k, accumulate, .. } = shape;
                let rows = operands.rows;
                return Ok((
                    algo,
                    PlanReport {
                        m,
                        k,
                        accumulate,
                        rows,
                        chosen_ms: ms,
                        fastest_ms,
                        refused,
                        was_remembered: false,
                    },
                ));
            }
        }
        Err(CudaError::NoPlan { m: shape.m, k: shape.k })
    }

    /// Orders the first ways of `timed` by what they take when the chip has been busy for long.
    ///
    /// # Safety
    /// As for [`Gemm::multiply`].
    unsafe fn time_longer(
        &self,
        stream: &Stream,
        description: &Description,
        timed: &mut [(f64, sys::cublasLtMatmulAlgo_t)],
        operands: Operands,
    ) -> Result<(), CudaError> {
        let finalists = timed.len().min(FINALISTS);
        let mut totals = vec![0.0; finalists];
        for round in 0..=ROUNDS {
            for (total, (ms, algo)) in totals.iter_mut().zip(&*timed) {
                let runs = (LONG_MS / ms).ceil().clamp(1.0, 1000.0) as usize;
                // SAFETY: the caller's promise.
                let ms = unsafe { self.time(stream, description, algo, operands, runs) }?;
                // The first round brings the chip to its limit.
                *total += if round > 0 { ms / ROUNDS as f64 } else { 0.0 };
            }
        }
        for (total, (ms, _)) in totals.iter().zip(&mut *timed) {
            let GemmShape { m, k, .. } = description.shape();
            tracing::debug!("a way of {m} x {k}: {ms:.4} ms, busy for long {total:.4} ms");
            *ms = *total;
        }
        timed[..finalists].sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(())
    }

    /// Whether cuBLASLt takes a way for any number of rows: the first 256 are asked for, and others
    /// around the edges of tiles up to some 100,000.
    fn takes_any_rows(
        &self,
        description: &Description,
        algo: &sys::cublasLtMatmulAlgo_t,
        bias: u64,
    ) -> Result<bool, CudaError> {
        let large = (9..=16).flat_map(|exponent| {
            let rows = 1usize << exponent;
            [rows - 1, rows, rows + 1, rows + rows / 2 + 3]
        });
        for rows in (1..=256).chain(large) {
            description.fit(rows, bias)?;
            if !description.accepts(&self.handle, WORKSPACE_BYTES, algo) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Mean milliseconds of a way.
    ///
    /// # Safety
    /// As for [`Gemm::multiply`].
    unsafe fn time(
        &self,
        stream: &Stream,
        description: &Description,
        algo: &sys::cublasLtMatmulAlgo_t,
        operands: Operands,
        runs: usize,
    ) -> Result<f64, CudaError> {
        let (start, end) = (Event::new(&self.context)?, Event::new(&self.context)?);
        for run in 0..=runs {
            if run == 1 {
                start.record(stream)?;
            }
            // SAFETY: the caller's promise.
            unsafe { description.run(&self.handle, &self.workspace, stream, algo, operands) }?;
        }
        end.record(stream)?;
        end.synchronize()?;
        Ok(end.milliseconds_since(&start)? / runs as f64)
    }

    /// Whether single stretches of rows, at the start and at the end, give the bits of the whole.
    ///
    /// # Safety
    /// As for [`Gemm::multiply`].
    unsafe fn is_invariant(
        &self,
        stream: &Stream,
        description: &Description,
        algo: &sys::cublasLtMatmulAlgo_t,
        whole: Operands,
        part: Operands,
    ) -> Result<bool, CudaError> {
        let GemmShape { m, k, .. } = description.shape();
        let size = self.precision.size_bytes();
        let run = |operands: Operands| -> Result<bool, CudaError> {
            description.fit(operands.rows, operands.bias)?;
            if !description.accepts(&self.handle, WORKSPACE_BYTES, algo) {
                return Ok(false);
            }
            // SAFETY: zeros everywhere the product may write, so that a residual of the shape is
            // the same in both; the rest is the caller's promise.
            unsafe {
                stream.fill(operands.out, 0, operands.rows * m * size)?;
                description.run(&self.handle, &self.workspace, stream, algo, operands)?;
            }
            Ok(true)
        };
        if !run(whole)? {
            return Ok(false);
        }
        for rows in PARTS.into_iter().filter(|&rows| rows < whole.rows) {
            // Starts stay aligned to 16 bytes, as those of real inputs are.
            for first in [0, (whole.rows - rows) / 8 * 8] {
                let x = whole.x + (first * k * size) as u64;
                if !run(Operands { x, rows, ..part })? {
                    return Ok(false);
                }
                let bytes = rows * m * size;
                let [mut expected, mut found] = [vec![0u8; bytes], vec![0u8; bytes]];
                // SAFETY: both stretches lie inside what was just written.
                unsafe {
                    stream.copy_dtoh(&mut expected, whole.out + (first * m * size) as u64)?;
                    stream.copy_dtoh(&mut found, part.out)?;
                }
                stream.synchronize()?;
                if expected != found {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// What a remembered plan is valid for: this chip, library, type, shape and size of batch.
    fn key(&self, shape: GemmShape, rows: usize, care: Care) -> String {
        let properties = &self.context.properties;
        format!(
            "{} {:?} cublasLt {} {} {shape:?} rows {} {care:?} taken for any rows",
            properties.name,
            properties.capability,
            version(),
            self.precision,
            rows.next_power_of_two()
        )
    }

    fn recall(
        &self,
        key: &str,
        shape: GemmShape,
    ) -> Option<(sys::cublasLtMatmulAlgo_t, PlanReport)> {
        let bytes = self.cache.read("plan", key)?;
        let numbers: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().expect("8 bytes")))
            .collect();
        let [a, b, c, d, e, f, g, h, chosen, fastest, refused, timed_rows] = numbers[..] else {
            return None;
        };
        let report = PlanReport {
            m: shape.m,
            k: shape.k,
            accumulate: shape.accumulate,
            rows: timed_rows as usize,
            chosen_ms: f64::from_bits(chosen),
            fastest_ms: f64::from_bits(fastest),
            refused: refused as usize,
            was_remembered: true,
        };
        Some((sys::cublasLtMatmulAlgo_t { data: [a, b, c, d, e, f, g, h] }, report))
    }

    fn remember(&self, key: &str, algo: &sys::cublasLtMatmulAlgo_t, report: &PlanReport) {
        let numbers = algo.data.into_iter().chain([
            report.chosen_ms.to_bits(),
            report.fastest_ms.to_bits(),
            report.refused as u64,
            report.rows as u64,
        ]);
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.cache.write("plan", key, &bytes);
    }
}
