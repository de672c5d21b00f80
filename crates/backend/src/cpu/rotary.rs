//! Rotary position embedding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pulp::Arch;
use rayon::prelude::*;

use super::CpuBatch;
use super::matrix::Matrix;
use super::rows_per_task;
use crate::{BackendError, RotarySpec};

/// cos and sin of every position up to `positions`, each f32 `[positions, head_dim / 2]`.
#[derive(Debug)]
struct Table {
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Tables made so far, by head width and base; remade twice as long when a longer sequence comes.
#[derive(Debug, Default)]
pub(super) struct RotaryTables {
    by_spec: Mutex<HashMap<(usize, u32), Arc<Table>>>,
}

impl RotaryTables {
    fn get(&self, head_dim: usize, base: f32, positions: usize) -> Arc<Table> {
        // A poisoned lock means that another thread panicked while it held whole tables; they
        // are immutable, so they are still right.
        let mut tables = self.by_spec.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (head_dim, base.to_bits());
        match tables.get(&key) {
            Some(table) if table.positions >= positions => Arc::clone(table),
            _ => {
                let table = Arc::new(Table::new(head_dim, base, positions.next_power_of_two()));
                tables.insert(key, Arc::clone(&table));
                table
            }
        }
    }
}

impl Table {
    /// Frequencies and angles are rounded to f32 where the reference rounds them, so that long
    /// sequences see the same angles; the functions themselves are evaluated in f64.
    fn new(head_dim: usize, base: f32, positions: usize) -> Self {
        let half = head_dim / 2;
        let inv_freq: Vec<f32> = (0..half)
            .map(|i| 1.0 / f64::from(base).powf((2 * i) as f64 / head_dim as f64) as f32)
            .collect();
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for &freq in &inv_freq {
                let angle = f64::from(position as f32 * freq);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Self { positions, cos, sin }
    }
}

/// Rotates q and k of every token in place.
pub(super) fn rotary(
    batch: &CpuBatch,
    spec: RotarySpec,
    tables: &RotaryTables,
    qkv: &mut Matrix,
) -> Result<(), BackendError> {
    let RotarySpec { num_heads, head_dim, base } = spec;
    BackendError::expect("rotary", "remainder of head_dim by 2", head_dim % 2, 0)?;
    let width = num_heads * head_dim;
    BackendError::expect("rotary", "columns of qkv", qkv.cols(), 3 * width)?;
    BackendError::expect("rotary", "rows of qkv", qkv.rows(), batch.total_tokens())?;
    let half = head_dim / 2;
    if half == 0 {
        return Ok(());
    }
    let table = tables.get(head_dim, base, batch.max_seqlen);
    let rows = rows_per_task(3 * width);
    let positions = batch.position_ids.par_chunks(rows);
    qkv.values_mut().par_chunks_mut(rows * 3 * width).zip(positions).for_each(
        |(qkv, positions)| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (row, &position) in qkv.chunks_exact_mut(3 * width).zip(positions) {
                        let position = position as usize * half;
                        let cos = &table.cos[position..position + half];
                        let sin = &table.sin[position..position + half];
                        rotate_row(&mut row[..2 * width], head_dim, cos, sin);
                    }
                },
            );
        },
    );
    Ok(())
}

/// Rotates every head of q and k of one token.
#[inline(always)]
fn rotate_row(row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head.split_at_mut(head_dim / 2);
        for (((a, b), &c), &s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}
