//! Checks of the projections that decoding consists of.

use super::case::{Build, Case, Output};
use super::forward::count;
use crate::ops::{self, AdaptedOutputs, AdapterTerm, Finish, InputNorm, PROJECTION_ROWS};
use crate::seeded::{Rng, random_weight};
use crate::{Gpu, Result, Row, Sequence, SourceType, twins};

/// Every check by name: each format, and each number of rows that has a form of its own.
pub(super) const CHECKS: &[(&str, Build)] = &[
    ("projection (Q4, 1 row)", |gpu| projection(gpu, SourceType::Q4_1, (70, 96), 1)),
    ("projection (Q8, 1 row)", |gpu| projection(gpu, SourceType::Q8_0, (70, 96), 1)),
    ("projection (Q16, 1 row)", |gpu| projection(gpu, SourceType::Q16, (70, 96), 1)),
    ("projection (F16, 1 row)", |gpu| projection(gpu, SourceType::F16, (70, 96), 1)),
    ("projection (F32, 1 row)", |gpu| projection(gpu, SourceType::F32, (70, 96), 1)),
    ("projection (Q4, 2 rows)", |gpu| projection(gpu, SourceType::Q4_1, (70, 96), 2)),
    ("projection (Q4, 3 rows)", |gpu| projection(gpu, SourceType::Q4_1, (70, 96), 3)),
    ("projection (Q4, 7 rows)", |gpu| projection(gpu, SourceType::Q4_1, (70, 96), 7)),
];

/// Checks of forms that only GPUs run and only larger products choose.
pub(super) const TILED: &[(&str, Build)] = &[
    ("projection (Q4, 2 outputs an item)", |gpu| projection(gpu, SourceType::Q4_1, (1030, 96), 4)),
    ("projection (Q4, 4 outputs an item, two rounds)", |gpu| projection(gpu, SourceType::Q4_1, (2050, 576), 7)),
];

/// A norm before it where the device can, an adapter on part of its outputs, and SwiGLU for even numbers of rows, else added to what is there.
fn projection(gpu: &Gpu, source: SourceType, (n, k): (usize, usize), count_of_rows: usize) -> Result<Case> {
    let (rank, epsilon, slot_stride) = (3, 1e-5, 3 * 40 + 7);
    let swiglu = count_of_rows.is_multiple_of(2);
    let (weight, w) = random_weight(gpu, source, n, k, 3)?;
    let mut rng = Rng::new(4);
    let rows: Vec<Row> =
        (0..count_of_rows as u32).map(|i| Row { slot: i % 3, sequence: i % 2, ..Row::default() }).collect();
    let sequences = [Sequence { gate: 0.25, ..Sequence::new(0) }, Sequence::new(0)];
    let (x, gain) = (rng.normal(count_of_rows * k), rng.normal(k));
    let (u, b) = (rng.normal(count_of_rows * rank), rng.normal(2 * slot_stride));
    let site = AdaptedOutputs { first: 11, outputs: 40, b_offset: 5 };

    let norms = ops::projection_norms(gpu);
    let normed: Vec<f32> = twins::rms_norm(&x, &gain, epsilon).iter().map(|&v| v as f32).collect();
    let mut sums = twins::matmul(if norms { &normed } else { &x }, &w, k);
    let AdaptedOutputs { first: y_offset, outputs, b_offset } = site;
    let term =
        twins::LoraUp { u_stride: rank, u_offset: 0, b_offset, slot_stride, rank, outputs, y_stride: n, y_offset };
    term.apply(&mut sums, &twins::double(&u), &b, &rows, &sequences);
    let y_stride = if swiglu { n / 2 } else { n };
    let before = rng.normal(count_of_rows * y_stride);
    let want = if swiglu {
        twins::swiglu(&sums.iter().map(|&v| v as f32).collect::<Vec<_>>(), n / 2)
    } else {
        sums.iter().zip(&before).map(|(sum, &y)| sum + f64::from(y)).collect()
    };

    let y = Output::changed(gpu, &before, want, 3e-6)?;
    let table = gpu.uniform_storage("rows", 4 * PROJECTION_ROWS)?;
    gpu.write(&table, 0, &rows);
    let (gain, u, b) = (gpu.storage_from("gain", &gain)?, gpu.storage_from("u", &u)?, gpu.storage_from("B", &b)?);
    let sequences = gpu.storage_from("sequences", &sequences)?;
    let (x, count) = (gpu.storage_from("x", &x)?, count(gpu, count_of_rows, 0)?);
    let args = ops::Projection {
        norm: norms.then_some(InputNorm { gain: &gain, epsilon }),
        adapter: Some(AdapterTerm { sequences: &sequences, u: &u, b: &b, slot_stride, rank, sites: &[site] }),
        y_stride,
        finish: if swiglu { Finish::Swiglu } else { Finish::Accumulate },
        ..ops::Projection::new(&x, &weight, &y.buffer, (&table, &count, count_of_rows))
    };
    Ok(Case::new([ops::projection(gpu, args)?], count_of_rows, [y]))
}
