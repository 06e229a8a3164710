use super::*;
use crate::testing::{Rng, SOURCES, TestGpu, assert_close, on_every_kind};
use crate::{Row, Sequence, SourceType, twins};

const EPSILON: f32 = 1e-5;

/// A projection with everything that can stand around it.
struct Whole {
    source: SourceType,
    n: usize,
    k: usize,
    slots: Vec<u32>,
    /// Whether there is a norm before it, where the device can.
    normed: bool,
    /// First output and number of outputs of each site.
    sites: Vec<(usize, usize)>,
    rank: usize,
    finish: Finish,
}

impl Whole {
    fn sites(&self) -> Vec<AdaptedOutputs> {
        let mut b_offset = 3;
        let place = |&(first, outputs)| {
            let site = AdaptedOutputs { first, outputs, b_offset };
            b_offset += outputs * self.rank + 1;
            site
        };
        self.sites.iter().map(place).collect()
    }

    fn offset(&self) -> usize {
        if self.finish == Finish::Swiglu { 0 } else { 5 }
    }

    /// What the kernel gives for the first `count` rows, run as for `max_rows`.
    fn run(&self, gpu: &TestGpu, count: usize, max_rows: usize) -> (Vec<f32>, Vec<f64>) {
        let &Self { n, k, rank, .. } = self;
        let normed = self.normed && projection_norms(gpu);
        let mut rng = Rng::new(7);
        let rows: Vec<Row> = (self.slots.iter().enumerate())
            .map(|(i, &slot)| Row { slot, sequence: i as u32 % 2, ..Row::default() })
            .collect();
        let sequences = [Sequence { gate: 0.25, ..Sequence::new(0) }, Sequence::new(0)];
        let (weight, w) = gpu.weight(self.source, n, k, 3);
        let all = rows.len();
        let (x, gain) = (rng.normal(all * k), rng.normal(k));
        let sites = self.sites();
        let slot_stride = sites.iter().map(|site| site.b_offset + site.outputs * rank).max().unwrap_or(0) + 2;
        let (u, b) = (rng.normal(all * sites.len() * rank), rng.normal(2 * slot_stride));
        let stored = if self.finish == Finish::Swiglu { n / 2 } else { n };
        let stride = stored + 2 * self.offset();
        let before = rng.normal(all * stride);

        let table = gpu.uniform_storage("rows", 4 * PROJECTION_ROWS).unwrap();
        gpu.write(&table, 0, &rows);
        let y = gpu.upload(&before[..count * stride]);
        let (gain_buffer, u_buffer, b_buffer) = (gpu.upload(&gain), gpu.upload(&u), gpu.upload(&b));
        let sequence_buffer = gpu.upload(&sequences);
        let args = Projection {
            x: &gpu.upload(&x[..count * k]),
            norm: normed.then_some(InputNorm { gain: &gain_buffer, epsilon: EPSILON }),
            weight: &weight,
            weight_start: 0,
            adapter: (!sites.is_empty()).then_some(AdapterTerm {
                sequences: &sequence_buffer,
                u: &u_buffer,
                b: &b_buffer,
                slot_stride,
                rank,
                sites: &sites,
            }),
            rows: &table,
            count: &gpu.count(count),
            max_rows,
            y: &y,
            y_stride: stride,
            y_offset: self.offset(),
            finish: self.finish,
        };
        let dispatch = projection(gpu, args).unwrap();
        let got = gpu.run(&dispatch, count, &y);
        gpu.write(&y, 0, &before[..count * stride]);
        assert_eq!(got, gpu.run(&dispatch, count, &y), "a second run must give the same bits");

        let input: Vec<f32> =
            if normed { twins::rms_norm(&x, &gain, EPSILON).iter().map(|&v| v as f32).collect() } else { x };
        let mut sums = twins::matmul(&input, &w, k);
        for (i, site) in sites.iter().enumerate() {
            let shape = twins::LoraUp {
                u_stride: sites.len() * rank,
                u_offset: i * rank,
                b_offset: site.b_offset,
                slot_stride,
                rank,
                outputs: site.outputs,
                y_stride: n,
                // Sites are counted in rows of y, in which output 0 may have an offset.
                y_offset: site.first - self.offset(),
            };
            shape.apply(&mut sums, &twins::double(&u), &b, &rows, &sequences);
        }
        let sums: Vec<f32> = sums.iter().map(|&v| v as f32).collect();
        let results = if self.finish == Finish::Swiglu { twins::swiglu(&sums, n / 2) } else { twins::double(&sums) };
        let mut want = twins::double(&before[..count * stride]);
        for (line, results) in want.chunks_mut(stride).zip(results.chunks(stored)) {
            for (y, result) in line[self.offset()..].iter_mut().zip(results) {
                *y = result + if self.finish == Finish::Accumulate { *y } else { 0.0 };
            }
        }
        (got, want)
    }

    fn check(&self, gpu: &TestGpu) {
        let count = self.slots.len();
        let (got, want) = self.run(gpu, count, count);
        assert_close(&got, &want, 3e-6);
    }
}

#[test]
fn a_plain_product_agrees_with_its_twin_in_every_format() {
    on_every_kind(|gpu| {
        for source in SOURCES {
            for (rows, n, k) in [(1, 1, 32), (1, 170, 96), (2, 33, 96), (3, 5, 352), (7, 257, 64), (13, 40, 1536)] {
                for finish in [Finish::Overwrite, Finish::Accumulate] {
                    let slots = vec![0; rows];
                    Whole { source, n, k, slots, normed: false, sites: vec![], rank: 0, finish }.check(gpu);
                }
            }
        }
        // Sums of so long rows take GPUs several rounds.
        let slots = vec![0; 9];
        let (source, normed, sites, finish) = (SourceType::F32, true, vec![], Finish::Overwrite);
        Whole { source, n: 40, k: 4128, slots, normed, sites, rank: 0, finish }.check(gpu);
    });
}

#[test]
fn norm_adapters_and_swiglu_agree_with_their_twins() {
    on_every_kind(|gpu| {
        for source in [SourceType::Q4_1, SourceType::F16] {
            for rows in [1, 2, 3, 4, 6, 8, 11] {
                for (sites, finish) in [
                    (vec![], Finish::Overwrite),
                    (vec![], Finish::Swiglu),
                    (vec![(5, 70)], Finish::Accumulate),
                    (vec![(5, 30), (35, 10), (60, 15)], Finish::Overwrite),
                    (vec![(0, 35), (35, 35)], Finish::Swiglu),
                    (vec![(35, 35)], Finish::Swiglu),
                ] {
                    let slots = (0..rows).map(|r| [1, 0, 2][r % 3]).collect();
                    Whole { source, n: 70, k: 96, slots, normed: true, sites, rank: 3, finish }.check(gpu);
                }
            }
        }
    });
}

/// Decoding plans of every size give a sequence the same bits.
#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    on_every_kind(|gpu| {
        for source in SOURCES {
            for finish in [Finish::Overwrite, Finish::Swiglu] {
                let sites = vec![(if finish == Finish::Swiglu { 0 } else { 5 }, 40)];
                let slots = vec![1, 0, 2, 1, 1, 0, 2, 2, 1];
                let whole = Whole { source, n: 200, k: 96, slots, normed: true, sites, rank: 6, finish };
                let (all, _) = whole.run(gpu, 9, 9);
                for fewer in [1, 2, 3, 4, 8] {
                    let (got, _) = whole.run(gpu, fewer, fewer);
                    assert_eq!(got, all[..got.len()], "{source:?}, {finish:?}, {fewer} rows");
                }
            }
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    on_every_kind(|gpu| {
        let (weight, _) = gpu.weight(SourceType::F32, 4, 32, 1);
        let (x, y) = (gpu.poisoned("x", 32), gpu.poisoned("y", 6));
        let rows = gpu.uniform_storage("rows", 4 * PROJECTION_ROWS).unwrap();
        let count = gpu.count(1);
        let args = Projection {
            x: &x,
            norm: None,
            weight: &weight,
            weight_start: 0,
            adapter: None,
            rows: &rows,
            count: &count,
            max_rows: 1,
            y: &y,
            y_stride: 6,
            y_offset: 2,
            finish: Finish::Overwrite,
        };
        let refused = |args| matches!(projection(gpu, args), Err(GpuError::Shape { .. }));
        assert!(!refused(args));
        assert!(refused(Projection { y_offset: 3, ..args }));
        assert!(refused(Projection { weight_start: 2, ..args }));
        assert!(refused(Projection { max_rows: PROJECTION_ROWS + 1, ..args }));
        let norm = Some(InputNorm { gain: &x, epsilon: EPSILON });
        assert_eq!(refused(Projection { norm, ..args }), !projection_norms(gpu));
        assert!(refused(Projection { finish: Finish::Swiglu, ..args }), "SwiGLU into part of a row");
    });
}
