//! A and B on the GPU, and what they add to a projection.

use tmem_gpu::ops;
use tmem_gpu::{Buffer, Dispatch, Gpu, GpuError};

use super::{Group, Sites};
use crate::model::ModelConfig;

/// The low-rank factors of all sites. A is shared by all slots and frozen; B has one copy per slot, in f32.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    pub(crate) sites: Sites,
    /// Flat A: every site's [rank, inputs], in site order.
    pub(crate) a: Buffer,
    /// Flat B: per slot, every site's [outputs, rank], in site order. Slot s ≥ 1 begins at (s − 1) · b_len.
    pub(crate) b: Buffer,
    /// Slots of B.
    pub(crate) slots: usize,
}

/// The rows an adapter is applied to.
#[derive(Clone, Copy)]
pub(crate) struct RowsOf<'a> {
    pub(crate) rows: &'a Buffer,
    pub(crate) sequences: &'a Buffer,
    pub(crate) count: &'a Buffer,
    pub(crate) max_rows: usize,
}

impl Adapter {
    /// Makes room for `slots` adapters, all zero.
    pub(crate) fn new(gpu: &Gpu, sites: Sites, slots: usize) -> Result<Self, GpuError> {
        let a = gpu.storage("A", sites.a_len)?;
        let b = gpu.storage("B", sites.b_len * slots)?;
        Ok(Self { sites, a, b, slots })
    }

    /// The same with room for `slots` adapters: A is shared with it, and what is in its slots is copied.
    pub(crate) fn with_slots(&self, gpu: &Gpu, slots: usize) -> Result<Self, GpuError> {
        let b = gpu.storage("B", self.sites.b_len * slots)?;
        let mut commands = gpu.commands("more slots for B");
        commands.copy(&self.b, 0, &b, 0, self.b.size().min(b.size()));
        commands.submit();
        Ok(Self { sites: self.sites.clone(), a: self.a.clone(), b, slots })
    }

    /// Most slots that one binding of B can have on this device.
    pub(crate) fn most_slots(&self, gpu: &Gpu) -> usize {
        let limit = gpu.largest_binding();
        (limit / (self.sites.b_len.max(1) as u64 * 4)) as usize
    }

    /// Where in B a slot from 1 on begins, in bytes.
    pub(crate) fn slot_offset(&self, slot: u32) -> u64 {
        u64::from(slot.saturating_sub(1)) * self.sites.b_len as u64 * 4
    }

    /// Uploads A (flat, all sites).
    pub(crate) fn set_a(&self, gpu: &Gpu, a: &[f32]) {
        gpu.write(&self.a, 0, a);
    }

    /// Records y += gate · B[slot] (A x) for the sites of one group; `low_rank` receives A x, [rows, sites · rank].
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn apply(
        &self,
        gpu: &Gpu,
        config: &ModelConfig,
        layer: usize,
        group: Group,
        batch: RowsOf<'_>,
        x: &Buffer,
        low_rank: &Buffer,
        y: &Buffer,
    ) -> Result<Vec<Dispatch>, GpuError> {
        let sites = self.sites.group(layer, group);
        let Some(first) = sites.first() else { return Ok(Vec::new()) };
        let rank = self.sites.rank;
        let stack = sites.len() * rank;
        let mut plan = vec![ops::lora_down(
            gpu,
            ops::LoraDown {
                x,
                a: &self.a,
                a_offset: first.a_offset,
                u: low_rank,
                count: batch.count,
                inputs: first.inputs,
                stack,
                max_rows: batch.max_rows,
            },
        )?];
        for (i, site) in sites.iter().enumerate() {
            plan.push(ops::lora_up(
                gpu,
                ops::LoraUp {
                    rows: batch.rows,
                    sequences: batch.sequences,
                    count: batch.count,
                    u: low_rank,
                    b: &self.b,
                    y,
                    outputs: site.outputs,
                    rank,
                    u_offset: i * rank,
                    u_stride: stack,
                    b_offset: site.b_offset,
                    slot_stride: self.sites.b_len,
                    y_offset: site.projection.offset_in_group(config),
                    y_stride: group.outputs(config),
                },
            )?);
        }
        Ok(plan)
    }
}
