//! Unit tests on a tiny vocabulary; parity on the real one is in the workspace's `tests` crate.

use super::super::gguf::tests::header_of;
use super::super::gguf::writer::GgufWriter;
use super::*;

const TYPES: &str = "tokenizer.ggml.token_type";

/// Bytes of "abc 12é" as tokens 0.., two merges, a user-defined and three control tokens.
fn tiny() -> GgufWriter {
    let tokens = ["a", "b", "c", "Ġ", "1", "2", "Ã", "©", "ab", "Ġab", "::", "<|im_start|>", "<|im_end|>", "<|im"];
    let mut types = vec![1; 10];
    types.extend([4, 3, 3, 3]);
    GgufWriter::new()
        .string("tokenizer.ggml.model", "gpt2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s(TYPES, &types)
        .strings("tokenizer.ggml.merges", &["a b", "Ġ ab"])
        .u32("tokenizer.ggml.eos_token_id", 12)
}

fn build(writer: &GgufWriter) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_gguf(&header_of(&writer.finish()).unwrap().metadata)
}

fn smollm() -> Tokenizer {
    build(&tiny().string("tokenizer.ggml.pre", "smollm")).unwrap()
}

#[test]
fn text_is_merged_digits_stay_apart_and_unknown_bytes_are_left_out() {
    let tokenizer = smollm();
    assert_eq!(tokenizer.encode("ab abc 12é", Specials::Literal).unwrap(), [8, 9, 2, 3, 4, 5, 6, 7]);
    assert_eq!(tokenizer.encode("azb", Specials::Literal).unwrap(), [8]);
    assert_eq!(tokenizer.encode("", Specials::Parse).unwrap(), [0_u32; 0]);
    assert_eq!(tokenizer.vocabulary(), 14);
}

#[test]
fn control_tokens_are_parsed_only_when_asked_and_the_longest_wins() {
    let tokenizer = smollm();
    let text = "ab<|im_end|>::<|im<|im_start|>";
    assert_eq!(tokenizer.encode(text, Specials::Parse).unwrap(), [8, 12, 10, 13, 11]);
    // Of the control tokens only the letters this vocabulary knows remain; the user-defined token is always one.
    assert_eq!(tokenizer.encode(text, Specials::Literal).unwrap(), [8, 10, 0]);
    assert_eq!((tokenizer.control_token("<|im_end|>"), tokenizer.control_token("::")), (Some(12), None));
    assert!(tokenizer.is_control(12) && !tokenizer.is_control(10) && !tokenizer.is_control(99));
}

#[test]
fn guarded_text_cannot_smuggle_control_tokens() {
    let tokenizer = smollm();
    for text in ["a<|im_end|>b", "<|im<|im_end|>", "<|im\u{fdd0}_end|>", "<\u{fdd0}|im_end|>"] {
        let prompt = format!("<|im_start|>{}<|im_end|>", tokenizer.guard(text));
        let tokens = tokenizer.encode_guarded(&prompt).unwrap();
        assert_eq!((tokens[0], tokens[tokens.len() - 1]), (11, 12));
        let inside = &tokens[1..tokens.len() - 1];
        assert!(inside.iter().all(|&token| !tokenizer.is_control(token)), "{text:?} gave {inside:?}");
        let plain = tokenizer.encode(&text.replace(GUARD, ""), Specials::Literal).unwrap();
        assert_eq!(inside, plain);
    }
    assert!(matches!(tokenizer.guard("nothing special"), Cow::Borrowed("nothing special")));
}

#[test]
fn decoding_keeps_or_drops_control_tokens_and_ignores_unknown_ids() {
    let tokenizer = smollm();
    assert_eq!(tokenizer.decode(&[11, 8, 9, 12, 999]), "<|im_start|>ab ab<|im_end|>");
    assert_eq!(tokenizer.decode_text(&[11, 8, 9, 12]), "ab ab");
    assert_eq!(tokenizer.decode(&[6]), "\u{fffd}");
    assert_eq!(tokenizer.token_bytes(9), Some(" ab".as_bytes()));
    assert_eq!(tokenizer.token_bytes(14), None);
}

#[test]
fn a_stream_gives_whole_characters() {
    let tokenizer = smollm();
    let mut stream = TokenStream::new();
    let texts: Vec<String> = [8, 6, 7, 12, 6, 0, 7].map(|token| stream.push(&tokenizer, token)).into();
    assert_eq!(texts, ["ab", "", "é", "", "", "\u{fffd}a", "\u{fffd}"]);
    assert_eq!(stream.clone().finish(), "");
    stream.push(&tokenizer, 6);
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn end_tokens_come_from_ids_and_names() {
    let tokenizer = smollm();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.end_of_turn()), (None, 12, 12));
    assert_eq!(tokenizer.end_tokens(), [12]);
    let more = tiny().string("tokenizer.ggml.pre", "gpt-2");
    let more = more.u32("tokenizer.ggml.bos_token_id", 11).u32("tokenizer.ggml.eot_token_id", 13);
    let tokenizer = build(&more).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.end_of_turn(), tokenizer.end_tokens()), (Some(11), 13, &[12, 13][..]));
}

#[test]
fn pre_tokenizers_split_numbers_and_words_as_their_models_do() {
    let parts = |name: &str, text: &str| {
        let mut parts = PreTokenizedString::from(text);
        PreTokenizer::named(name).unwrap().split(&mut parts).unwrap();
        let splits = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect::<Vec<_>>()
    };
    let text = "I'LL pay 12345\n\n now";
    assert_eq!(parts("gpt-2", text), ["I", "'", "LL", " pay", " 12345", "\n\n", " now"]);
    assert_eq!(parts("smollm", text), ["I", "'", "LL", " pay", " ", "1", "2", "3", "4", "5", "\n\n", " now"]);
    assert_eq!(parts("llama-bpe", text), ["I", "'LL", " pay", " ", "123", "45", "\n\n", " now"]);
    assert_eq!(parts("qwen2", text), ["I", "'LL", " pay", " ", "1", "2", "3", "4", "5", "\n\n", " now"]);
}

#[test]
fn what_is_wrong_is_named() {
    let pre = |writer: GgufWriter| writer.string("tokenizer.ggml.pre", "smollm");
    let without = |key: &str| {
        let mut writer = GgufWriter::new().string("tokenizer.ggml.pre", "smollm");
        if key != "tokenizer.ggml.model" {
            writer = writer.string("tokenizer.ggml.model", "gpt2");
        }
        if key != TOKENS {
            writer = writer.strings(TOKENS, &["a"]);
        }
        writer
    };
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let cases = [
        (tiny(), "tokenizer.ggml.pre"),
        (tiny().string("tokenizer.ggml.pre", "deepseek-v3"), "`deepseek-v3` is not supported (known: gpt-2"),
        (without("tokenizer.ggml.model"), "tokenizer.ggml.model"),
        (without(TOKENS), TOKENS),
        (without("").i32s(TYPES, &[1, 1]), "1 tokens but 2 token types"),
        (without(""), "tokenizer.ggml.eos_token_id"),
        (without("").u32("tokenizer.ggml.eos_token_id", 1), "1 is not below the vocabulary's 1"),
        (without("").u32("tokenizer.ggml.eos_token_id", 0).strings("tokenizer.ggml.merges", &["a a"]), "`a a`"),
        (without("").u32("tokenizer.ggml.eos_token_id", 0).strings("tokenizer.ggml.merges", &["a"]), "`a`"),
        (pre(GgufWriter::new().string("tokenizer.ggml.model", "llama")), "`llama` are not supported"),
    ];
    for (writer, part) in cases {
        let message = build(&writer).unwrap_err().to_string();
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}
