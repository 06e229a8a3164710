//! The tokenizer and chat template built from the real model file, against Hugging Face's tokenizers and Jinja
//! (`fixtures/scripts/make_tokenizer_cases.py`).

use std::io::Read as _;

use serde::Deserialize;
use tmem_core::message::Message;
use tmem_core::model::chat_template::ChatTemplate;
use tmem_core::model::config::{ModelConfig, RopeStyle};
use tmem_core::model::gguf::{GgufError, GgufHeader, GgufReader};
use tmem_core::model::tokenizer::{Specials, TokenStream, Tokenizer};
use tmem_tests::{fixture, smollm2_path};

#[derive(Deserialize)]
struct Cases {
    vocabulary: usize,
    texts: Vec<TextCase>,
    templates: Vec<TemplateCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    ids: Vec<u32>,
    ids_plain: Vec<u32>,
}

#[derive(Deserialize)]
struct TemplateCase {
    name: String,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    text: String,
    ids: Vec<u32>,
}

fn cases() -> Cases {
    let path = fixture("tokenizer_cases.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The header of the real model; no tensor data is read.
fn header() -> GgufHeader {
    let mut file = std::fs::File::open(smollm2_path()).unwrap();
    let (mut reader, mut buffer) = (GgufReader::new(), vec![0; 1 << 16]);
    while reader.header().is_none() {
        let read = file.read(&mut buffer).unwrap();
        assert!(read > 0, "the model file ends within its header");
        reader.push(&buffer[..read], |_, _| Ok::<_, GgufError>(())).unwrap();
    }
    reader.header().unwrap().clone()
}

#[test]
fn tokens_are_those_of_the_reference_and_decode_to_the_text() {
    let cases = cases();
    let tokenizer = Tokenizer::from_gguf(&header().metadata).unwrap();
    assert_eq!(tokenizer.vocabulary(), cases.vocabulary);
    assert!(cases.texts.len() >= 40, "the corpus is there");
    for case in &cases.texts {
        assert_eq!(tokenizer.encode(&case.text, Specials::Parse).unwrap(), case.ids, "{:?}", case.text);
        assert_eq!(tokenizer.encode(&case.text, Specials::Literal).unwrap(), case.ids_plain, "{:?}", case.text);
        assert_eq!(tokenizer.encode_guarded(&tokenizer.guard(&case.text)).unwrap(), case.ids_plain, "{:?}", case.text);
        for ids in [&case.ids, &case.ids_plain] {
            assert_eq!(tokenizer.decode(ids), case.text);
        }
        let mut stream = TokenStream::new();
        let mut streamed: String = case.ids_plain.iter().map(|&id| stream.push(&tokenizer, id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, case.text);
    }
}

#[test]
fn conversations_are_rendered_and_encoded_as_by_the_reference() {
    let cases = cases();
    let metadata = header().metadata;
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let template = ChatTemplate::from_gguf(&metadata, &tokenizer).unwrap();
    assert!(cases.templates.len() >= 10, "the conversations are there");
    let mut with_specials_inside = 0;
    for TemplateCase { name, messages, add_generation_prompt, text, ids } in &cases.templates {
        let rendered = template.render(messages, *add_generation_prompt).unwrap();
        assert_eq!(&rendered, text, "{name}");
        assert_eq!(&tokenizer.encode(&rendered, Specials::Parse).unwrap(), ids, "{name}");
        let encoded = template.encode(&tokenizer, messages, *add_generation_prompt).unwrap();
        if messages.iter().any(|message| message.content.contains("<|")) {
            // The reference lets a message end its own turn; here only the template can.
            with_specials_inside += 1;
            assert_ne!(&encoded, ids, "{name}");
            assert_eq!(tokenizer.decode(&encoded), *text, "{name}");
            let ends = encoded.iter().filter(|&&id| id == tokenizer.end_of_turn()).count();
            let system = usize::from(!text.contains("system") || messages[0].role != tmem_core::message::Role::System);
            assert_eq!(ends, messages.len() + system, "{name}");
        } else {
            assert_eq!(&encoded, ids, "{name}");
        }
    }
    assert!(with_specials_inside > 0, "the corpus has a message with a control token's text");
}

#[test]
fn the_real_file_describes_smollm2() {
    let header = header();
    let expected = ModelConfig {
        layers: 30,
        hidden: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        vocab: 49152,
        context: 8192,
        rope_theta: 1e5,
        rope_style: RopeStyle::Interleaved,
        norm_epsilon: 1e-5,
        tied_embeddings: true,
    };
    assert_eq!(ModelConfig::from_gguf(&header).unwrap(), expected);
    assert_eq!(header.tensors.len(), 272);
    let tokenizer = Tokenizer::from_gguf(&header.metadata).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.end_of_turn()), (Some(1), 2, 2));
    assert_eq!(tokenizer.end_tokens(), [0, 2], "<|endoftext|> and <|im_end|>");
}

#[test]
fn the_real_file_streams_whole_and_a_cut_one_is_told() {
    let file = std::fs::read(smollm2_path()).unwrap();
    let mut bytes = 0;
    let mut reader = GgufReader::new();
    for chunk in file.chunks(1_000_003) {
        reader
            .push(chunk, |_, piece| {
                bytes += piece.bytes.len() as u64;
                Ok::<_, GgufError>(())
            })
            .unwrap();
    }
    let header = reader.finish().unwrap();
    assert_eq!(bytes, header.tensors.iter().map(|tensor| tensor.bytes()).sum::<u64>());
    assert_eq!(header.file_bytes().next_multiple_of(32), file.len() as u64);

    let mut reader = GgufReader::new();
    reader.push(&file[..file.len() - 1000], |_, _| Ok::<_, GgufError>(())).unwrap();
    let error = reader.finish().unwrap_err();
    assert!(matches!(error, GgufError::Truncated { .. }), "{error}");
    assert!(error.to_string().contains("download it again"), "{error}");
}
