use super::*;
use crate::Row;
use crate::testing::{Rng, TestGpu, on_every_kind};
use crate::twins;

const STEPS: usize = 3;

/// Draws `draws` times from fixed logits; returns what the ring held after each, the last rows and the progress.
fn draw(gpu: &TestGpu, logits: &[f32], settings: &[Sampling], draws: usize) -> (Vec<Vec<Drawn>>, Vec<Row>) {
    let sequences = settings.len();
    let vocabulary = logits.len() / sequences;
    let progress: Vec<Progress> = (0..sequences).map(|i| Progress { position: 10 * i as u32, step: 0 }).collect();
    let progress = gpu.upload(&progress);
    let seen = gpu.upload(&vec![0u32; sequences * vocabulary.div_ceil(32)]);
    let (ring, rows) = (gpu.poisoned("ring", STEPS * sequences * 2), gpu.poisoned("rows", sequences * 4));
    let args = Sample {
        logits: &gpu.upload(logits),
        settings: &gpu.upload(settings),
        progress: &progress,
        seen: &seen,
        ring: &ring,
        rows: &rows,
        vocabulary,
        sequences,
        steps: STEPS,
    };
    let dispatch = sample(gpu, args).unwrap();
    let mut all = Vec::new();
    for step in 0..draws {
        gpu.run(&dispatch, sequences, &ring);
        let line = (step % STEPS) * sequences * 2;
        let words: Vec<[u32; 2]> = pollster::block_on(gpu.read::<u32>(&ring, line, 2 * sequences))
            .unwrap()
            .chunks(2)
            .map(|w| [w[0], w[1]])
            .collect();
        all.push(bytemuck::cast_slice(&words).to_vec());
    }
    let words: Vec<u32> = pollster::block_on(gpu.read(&rows, 0, sequences * 4)).unwrap();
    (all, bytemuck::cast_slice(&words).to_vec())
}

fn settings() -> Vec<Sampling> {
    let base = Sampling { seed: [7, 9], temperature: 0.8, ..Sampling::greedy(0, 0) };
    vec![
        Sampling::greedy(0, 1),
        Sampling { repetition_penalty: 1.6, ..Sampling::greedy(1, 0) },
        Sampling { sequence: 2, slot: 3, ..base },
        Sampling { top_k: 5, ..base },
        Sampling { top_p: 0.6, temperature: 1.3, ..base },
        Sampling { min_p: 0.2, ..base },
        Sampling { top_k: 7, top_p: 0.7, min_p: 0.05, repetition_penalty: 1.2, seed: [1, 2], ..base },
    ]
}

#[test]
fn follows_the_documented_rule() {
    on_every_kind(|gpu| {
        for vocabulary in [1, 5, 257, 1000] {
            let settings = settings();
            let logits: Vec<f32> =
                Rng::new(vocabulary as u64).normal(settings.len() * vocabulary).iter().map(|v| 3.0 * v).collect();
            let (got, rows) = draw(gpu, &logits, &settings, 6);
            for (i, wish) in settings.iter().enumerate() {
                let line = &logits[i * vocabulary..][..vocabulary];
                let mut seen = vec![false; vocabulary];
                for (step, drawn) in got.iter().map(|drawn| drawn[i]).enumerate() {
                    let (token, log_probability) = twins::sample(line, &seen, wish, (10 * i + step) as u32);
                    assert_eq!(drawn.token, token, "vocabulary {vocabulary}, sequence {i}, step {step}");
                    assert!((f64::from(drawn.log_probability) - log_probability).abs() < 2e-5);
                    seen[token as usize] = true;
                }
                let token = got[got.len() - 1][i].token;
                let position = (10 * i + got.len() - 1) as u32;
                assert_eq!(rows[i], Row { token, position, sequence: wish.sequence, slot: wish.slot });
            }
            assert_eq!(got, draw(gpu, &logits, &settings, 6).0, "a second run must give the same tokens");
        }
    });
}

#[test]
fn frequencies_follow_the_softmax() {
    on_every_kind(|gpu| {
        let logits = [1.0f32, 0.0, -1.0, 0.5];
        let draws = 400;
        let sequences: Vec<Sampling> =
            (0..16).map(|seed| Sampling { seed: [seed, 0], temperature: 1.0, ..Sampling::greedy(0, 0) }).collect();
        let (got, _) = draw(gpu, &logits.repeat(sequences.len()), &sequences, draws / sequences.len());
        let total: f64 = logits.iter().map(|&v| f64::from(v).exp()).sum();
        for (token, &logit) in logits.iter().enumerate() {
            let wanted = f64::from(logit).exp() / total;
            let seen = got.iter().flatten().filter(|d| d.token == token as u32).count() as f64 / draws as f64;
            let deviation = (wanted * (1.0 - wanted) / draws as f64).sqrt();
            assert!((seen - wanted).abs() < 4.0 * deviation, "token {token}: {seen} against {wanted}");
        }
    });
}

#[test]
fn logits_that_are_no_numbers_give_no_token() {
    on_every_kind(|gpu| {
        let settings =
            [Sampling::greedy(0, 0), Sampling { temperature: 1.0, top_p: 0.9, top_k: 3, ..Sampling::greedy(0, 0) }];
        for bad in [f32::NAN, f32::INFINITY] {
            let mut logits = vec![0.5f32; 2 * 300];
            logits[299] = bad;
            logits[300] = bad;
            let (got, _) = draw(gpu, &logits, &settings, 1);
            assert!(got[0].iter().all(|drawn| drawn.token == Drawn::NO_TOKEN));
        }
        let mut masked = vec![f32::NEG_INFINITY; 2 * 300];
        masked[17] = 1.0;
        masked[317] = 1.0;
        let (got, _) = draw(gpu, &masked, &settings, 1);
        assert!(got[0].iter().all(|drawn| drawn.token == 17 && drawn.log_probability == 0.0));
    });
}
