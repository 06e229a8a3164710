//! The engine against Hugging Face transformers: logits and greedy continuations on tiny models in every weight
//! format, and on SmolLM2-135M. The fixtures and the scripts that made them are in `fixtures/`.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tmem_core::abort::Abort;
use tmem_core::engine::Engine;
use tmem_core::message::Message;
use tmem_core::model::gguf::{GgufError, GgufReader};
use tmem_core::rollout::policy::{GenerateRequest, Policy, Weights};
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu, dequantise};
use tmem_tests::{fixture, load_model, log_softmax, open_gpu, open_gpu_as, smollm2_path};

#[derive(Deserialize)]
struct TinyCase {
    name: String,
    ids: Vec<u32>,
    greedy: Greedy,
    #[serde(default)]
    logits: Option<Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<u32>,
    leads: Vec<f32>,
}

#[derive(Deserialize)]
struct TinyReference {
    cases: Vec<TinyCase>,
    /// Of the values of each tensor; of the model in many types only.
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

type References = BTreeMap<String, TinyReference>;

fn tiny_engine(name: &str, format: &str) -> Engine {
    engine_on(&open_gpu(), name, format)
}

fn engine_on(gpu: &Gpu, name: &str, format: &str) -> Engine {
    let mut settings = Settings::small();
    settings.fast.layers = 2;
    let model = load_model(gpu, &fixture(&format!("{name}.{format}.gguf")));
    pollster::block_on(Engine::new(gpu, model, &settings)).unwrap()
}

/// Logits are of the order of 4; f32 sums in another order differ by less than this.
const TINY_TOLERANCE: f32 = 2e-3;

#[test]
fn tiny_models_give_the_reference_logits_in_every_format() {
    for (name, formats) in [
        ("tiny_a", &["f32", "f16", "q8_0", "q4_0", "q4_1"][..]),
        ("tiny_b", &["f32", "q8_0", "q4_0", "q4_1"]),
        ("tiny_k", &["mixed"]),
    ] {
        let text = std::fs::read_to_string(fixture(&format!("{name}.reference.json"))).unwrap();
        let reference: References = serde_json::from_str(&text).unwrap();
        for format in formats {
            let mut engine = tiny_engine(name, format);
            for case in &reference[*format].cases {
                let Some(want) = &case.logits else { continue };
                let prompts: Vec<Vec<u32>> = (1..=case.ids.len()).map(|n| case.ids[..n].to_vec()).collect();
                let got = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap();
                for (position, (got, want)) in got.iter().zip(want).enumerate() {
                    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
                    assert!(
                        worst < TINY_TOLERANCE,
                        "{name} {format} {}: logits at position {position} are off by {worst}",
                        case.name
                    );
                }
            }
        }
    }
}

#[test]
fn tiny_models_continue_as_the_reference_does() {
    for (name, format) in
        [("tiny_a", "f32"), ("tiny_a", "q4_1"), ("tiny_b", "q8_0"), ("tiny_b", "q4_0"), ("tiny_k", "mixed")]
    {
        let text = std::fs::read_to_string(fixture(&format!("{name}.reference.json"))).unwrap();
        let reference: References = serde_json::from_str(&text).unwrap();
        let mut engine = tiny_engine(name, format);
        for case in &reference[format].cases {
            let mut ids = case.ids.clone();
            for (&want, &lead) in case.greedy.tokens.iter().zip(&case.greedy.leads) {
                if lead < 2.0 * TINY_TOLERANCE {
                    break;
                }
                let logits = pollster::block_on(engine.next_logits(&[ids.clone()], Weights::Frozen)).unwrap();
                let got = (0..logits[0].len()).max_by(|&a, &b| logits[0][a].total_cmp(&logits[0][b])).unwrap();
                assert_eq!(got as u32, want, "{name} {format} {} after {} tokens", case.name, ids.len());
                ids.push(want);
            }
        }
    }
}

/// Decoding has products of its own; here q, k and v, gate and up are of several types and lie apart.
#[test]
fn a_model_of_many_types_generates_what_it_reads() {
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let mut engine = engine_on(&open_gpu_as(kind), "tiny_k", "mixed");
        let messages = vec![Message::user("Who is at the station?")];
        let model = engine.model();
        let mut ids = model.chat_template.encode(&model.tokenizer, &messages, true).unwrap();
        let request = GenerateRequest { messages, max_tokens: 12, weights: Weights::Frozen, ..Default::default() };
        let generated =
            pollster::block_on(engine.generate(&[request], &mut |_, _| {}, &Abort::default())).unwrap().remove(0);
        assert!(generated.tokens.len() > 3, "too little was generated to compare");
        for (&token, &log_probability) in generated.tokens.iter().zip(&generated.log_probabilities) {
            let logits = pollster::block_on(engine.next_logits(&[ids.clone()], Weights::Frozen)).unwrap().remove(0);
            let read = log_softmax(&logits)[token as usize];
            assert!((read - log_probability).abs() < 1e-3, "{kind:?}: {read} read, {log_probability} generated");
            ids.push(token);
        }
    }
}

/// Every type that a file may have is taken apart as gguf's own package does, to the bit.
#[test]
fn blocks_of_every_type_stand_for_what_gguf_says() {
    let text = std::fs::read_to_string(fixture("tiny_k.reference.json")).unwrap();
    let reference: References = serde_json::from_str(&text).unwrap();
    let want = &reference["mixed"].sha256;
    let mut reader = GgufReader::new();
    let mut sums: BTreeMap<String, Sha256> = BTreeMap::new();
    let file = std::fs::read(fixture("tiny_k.mixed.gguf")).unwrap();
    reader
        .push(&file, |_, piece| {
            let values = dequantise(piece.tensor.source, piece.bytes);
            let sum = sums.entry(piece.tensor.name.clone()).or_default();
            values.iter().for_each(|value| sum.update(value.to_le_bytes()));
            Ok::<_, GgufError>(())
        })
        .unwrap();
    assert_eq!(sums.len(), want.len());
    for (name, sum) in sums {
        let (_, tensor) = reader.header().unwrap().tensor(&name).unwrap();
        let got: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, want[&name], "{name}: {:?}", tensor.source);
    }
}

#[derive(Deserialize)]
struct SmolReference {
    model_sha256: String,
    cases: Vec<SmolCase>,
}

#[derive(Deserialize)]
struct SmolCase {
    name: String,
    messages: Vec<Message>,
    ids: Vec<u32>,
    logits: Vec<SmolLogits>,
    greedy: Greedy,
}

#[derive(Deserialize)]
struct SmolLogits {
    position: usize,
    argmax: u32,
    vocabulary: Vec<usize>,
    logits: Vec<f32>,
}

#[test]
fn smollm2_gives_the_reference_logits_and_continuations() {
    let text = std::fs::read_to_string(fixture("smollm2_reference.json")).unwrap();
    let reference: SmolReference = serde_json::from_str(&text).unwrap();
    let gpu = open_gpu();
    let model = load_model(&gpu, &smollm2_path());
    assert_eq!(model.sha256, reference.model_sha256, "the fixtures belong to another file");
    let mut engine = pollster::block_on(Engine::new(&gpu, model, &Settings::small())).unwrap();
    for case in &reference.cases {
        let prompts: Vec<Vec<u32>> = case.logits.iter().map(|l| case.ids[..=l.position].to_vec()).collect();
        let got = pollster::block_on(engine.next_logits(&prompts, Weights::Frozen)).unwrap();
        for (got, want) in got.iter().zip(&case.logits) {
            let argmax = (0..got.len()).max_by(|&a, &b| got[a].total_cmp(&got[b])).unwrap();
            assert_eq!(argmax as u32, want.argmax, "{} at {}", case.name, want.position);
            for (&token, &logit) in want.vocabulary.iter().zip(&want.logits) {
                let error = (got[token] - logit).abs();
                assert!(error < 2e-2, "{} at {}: token {token} off by {error}", case.name, want.position);
            }
        }
        // The reference runs on past the end of the turn; ours stops there.
        let request = GenerateRequest { messages: case.messages.clone(), max_tokens: 24, ..Default::default() };
        let generated =
            pollster::block_on(engine.generate(&[request], &mut |_, _| {}, &Abort::default())).unwrap().remove(0);
        assert_eq!(generated.prompt_tokens, case.ids.len(), "{}", case.name);
        let sure = case.greedy.leads.iter().take_while(|&&lead| lead > 2e-2).count();
        let compared = sure.min(generated.tokens.len());
        assert!(compared > 3, "{}: too little was generated to compare", case.name);
        assert_eq!(generated.tokens[..compared], case.greedy.tokens[..compared], "{}", case.name);
    }
}
