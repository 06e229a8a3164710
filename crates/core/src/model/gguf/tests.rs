//! Round trips through the test writer, hostile files, and fuzzing.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::writer::GgufWriter;
use super::*;

/// Tensor name to its bytes, in the order of rows.
type Tensors = BTreeMap<String, Vec<u8>>;

fn read_in_chunks(file: &[u8], chunk: usize) -> Result<(GgufHeader, Tensors), GgufError> {
    let mut reader = GgufReader::new();
    let mut tensors = Tensors::new();
    for chunk in file.chunks(chunk) {
        reader.push(chunk, |_, piece| {
            let bytes = tensors.entry(piece.tensor.name.clone()).or_default();
            assert_eq!(bytes.len(), piece.first_row * piece.tensor.row_bytes(), "rows come in order, none is lost");
            assert!(piece.bytes.len() <= MAX_PIECE_BYTES && piece.bytes.len() % piece.tensor.row_bytes() == 0);
            bytes.extend(piece.bytes);
            Ok::<_, GgufError>(())
        })?;
    }
    Ok((reader.finish()?, tensors))
}

pub(crate) fn header_of(file: &[u8]) -> Result<GgufHeader, GgufError> {
    Ok(read_in_chunks(file, 4096)?.0)
}

/// All supported types, ragged row counts, tensors stored in another order than listed.
fn sample() -> GgufWriter {
    let data = |n: usize| (0..n).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>();
    GgufWriter::new()
        .string("general.architecture", "llama")
        .u32("answer", 42)
        .f32("pi", 3.25)
        .bool("yes", true)
        .strings("words", &["a", "", "zwölf"])
        .i32s("numbers", &[1, -2, 3])
        .raw("tiny", 1, &[0xff])
        .tensor("f32", &[5, 3], 0, &data(60))
        .tensor("f16", &[7], 1, &data(14))
        .tensor("late", &[32, 1], 2, &data(18))
        .at(512)
        .tensor("early", &[64, 2, 2], 3, &data(160))
        .at(96 + 32)
        .tensor("q8", &[32, 5], 8, &data(170))
        .at(1024)
}

#[test]
fn metadata_and_tensors_come_back_whatever_the_chunks() {
    let file = sample().finish();
    let (header, tensors) = read_in_chunks(&file, file.len()).unwrap();
    let metadata = &header.metadata;
    assert_eq!(metadata.get::<&str>("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.get::<usize>("answer").unwrap(), 42);
    assert_eq!(metadata.get::<f32>("pi").unwrap(), 3.25);
    assert!(metadata.get::<bool>("yes").unwrap());
    assert_eq!(metadata.get::<&[String]>("words").unwrap(), ["a", "", "zwölf"]);
    assert_eq!(metadata.get::<Vec<i64>>("numbers").unwrap(), [1, -2, 3]);
    assert_eq!(metadata.find::<u32>("nothing").unwrap(), None);
    assert_eq!((metadata.len(), metadata.is_empty(), metadata.keys().next()), (7, false, Some("answer")));
    assert_eq!(header.file_bytes(), file.len() as u64);
    let (index, early) = header.tensor("early").unwrap();
    assert_eq!((index, early.rows, early.row_bytes()), (3, 4, 40));
    assert_eq!(tensors["q8"], (0..170).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>());
    for chunk in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(read_in_chunks(&file, chunk).unwrap(), (header.clone(), tensors.clone()), "chunks of {chunk}");
    }
}

#[test]
fn pieces_are_cut_by_the_file_alone_and_bounded() {
    // 3 rows of 1.5 MiB: a piece of two, a piece of one.
    let row = 3 << 17;
    let file = GgufWriter::new().tensor("big", &[row, 3], 0, &vec![7; 3 * 4 * row as usize]).finish();
    for chunk in [file.len(), 100_001, 1 << 20] {
        let (mut reader, mut pieces) = (GgufReader::new(), vec![]);
        for chunk in file.chunks(chunk) {
            let sink = |_: &GgufHeader, piece: TensorPiece<'_>| {
                pieces.push((piece.first_row, piece.bytes.len()));
                Ok::<_, GgufError>(())
            };
            reader.push(chunk, sink).unwrap();
        }
        assert_eq!(pieces, [(0, 3 << 20), (2, 3 << 19)]);
    }
}

#[test]
fn typed_access_names_the_key_and_what_was_expected() {
    let (header, _) = read_in_chunks(&sample().finish(), 100).unwrap();
    let metadata = &header.metadata;
    let messages = [
        metadata.get::<u32>("nothing").unwrap_err().to_string(),
        metadata.get::<u32>("general.architecture").unwrap_err().to_string(),
        metadata.get::<&str>("answer").unwrap_err().to_string(),
        metadata.get::<u32>("tiny").unwrap_err().to_string(),
        metadata.get::<Vec<f32>>("words").unwrap_err().to_string(),
    ];
    let parts = [
        "`nothing`: is missing",
        "is text, expected a whole number",
        "is a number, expected text",
        "`tiny`",
        "`words`",
    ];
    for (message, part) in messages.iter().zip(parts) {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn every_prefix_of_a_file_is_cut_short() {
    let file = sample().finish();
    for end in 0..file.len() {
        let error = read_in_chunks(&file[..end], 16).unwrap_err();
        assert!(matches!(error, GgufError::Truncated { got, .. } if got == end as u64), "{end}: {error}");
    }
}

fn text_bytes(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file with the given counts and body.
fn raw(version: u32, tensors: u64, entries: u64, body: &[u8]) -> Vec<u8> {
    [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes(), body].concat()
}

#[test]
fn hostile_files_give_clear_errors() {
    let array = |code: u32, count: u64| {
        [text_bytes("k"), 9_u32.to_le_bytes().to_vec(), code.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()]
            .concat()
    };
    let w = GgufWriter::new;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"PK\x03\x04".to_vec(), "not a GGUF file"),
        (raw(1, 0, 0, &[]), "version 1"),
        (raw(3_u32.swap_bytes(), 0, 0, &[]), "big-endian"),
        (raw(3, u64::MAX, 0, &[]), "tensors, more than"),
        (raw(3, 0, 1 << 40, &[]), "metadata entries, more than"),
        (raw(3, 0, 1, &u64::MAX.to_le_bytes()), "larger than"),
        (raw(3, 0, 1, &[text_bytes("k"), 99_u32.to_le_bytes().to_vec()].concat()), "unknown value type 99"),
        (raw(3, 0, 1, &[&[1, 0, 0, 0, 0, 0, 0, 0, 0xff][..]].concat()), "not UTF-8"),
        (raw(3, 0, 1, &array(9, 1)), "array of arrays"),
        (raw(3, 0, 1, &array(77, 1)), "unknown value type 77"),
        (raw(3, 0, 1, &array(4, u64::MAX)), "cut short"),
        (raw(3, 0, 1, &array(8, u64::MAX)), "cut short"),
        (w().u32("a", 1).u32("a", 2).finish(), "`a`: is in the file twice"),
        (w().u32("general.alignment", 0).finish(), "general.alignment"),
        (w().u32("general.alignment", 48).finish(), "not a power of two"),
        (w().string("general.alignment", "x").finish(), "general.alignment"),
        (w().tensor("t", &[4, 4], 23, &[]).finish(), "`t` is stored as IQ4_XS"),
        (w().tensor("t", &[4, 4], 777, &[]).finish(), "unknown type 777"),
        (w().tensor("t", &[33], 2, &[]).finish(), "not a multiple of the 32"),
        (w().tensor("t", &[96], 12, &[]).finish(), "not a multiple of the 256"),
        (w().tensor("t", &[4, 0], 0, &[]).finish(), "empty dimension"),
        (w().tensor("t", &[1, 1, 1, 1, 1], 0, &[]).finish(), "5 dimensions"),
        (w().tensor("t", &[1 << 20, u64::MAX, 2], 0, &[]).finish(), "do not fit"),
        (w().tensor("t", &[1 << 20, 1 << 50], 0, &[]).finish(), "do not fit"),
        (w().tensor("t", &[1 << 30], 0, &[]).finish(), "is longer than"),
        (w().tensor("t", &[4], 0, &[]).at(u64::MAX - 31).finish(), "do not fit"),
        (w().tensor("t", &[4], 0, &[0; 16]).at(8).finish(), "alignment"),
        (w().tensor("t", &[4], 0, &[0; 16]).tensor("t", &[4], 0, &[0; 16]).finish(), "twice"),
        (w().tensor("s", &[64], 0, &[0; 256]).tensor("t", &[4], 0, &[0; 16]).at(32).finish(), "`t`: overlaps"),
        (w().tensor("t", &[1 << 20, 1 << 10], 0, &[]).finish(), "cut short"),
    ];
    for (file, part) in cases {
        for chunk in [1, file.len()] {
            let message = read_in_chunks(&file, chunk).unwrap_err().to_string();
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_failing_sink_stops_the_reader() {
    let failed = GgufReader::new().push(&sample().finish(), |_, _| Err(GgufError::NotGguf));
    assert_eq!(failed, Err(GgufError::NotGguf));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1_usize..300) {
        let _ = read_in_chunks(&bytes, chunk);
        let _ = read_in_chunks(&raw(3, 2, 2, &bytes), chunk);
    }

    #[test]
    fn damaged_files_never_panic_and_do_not_depend_on_chunks(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        chunk in 1_usize..300,
    ) {
        let mut file = sample().finish();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let whole = read_in_chunks(&file, file.len());
        let parts = read_in_chunks(&file, chunk);
        match (whole, parts) {
            (Ok(whole), Ok(parts)) => prop_assert_eq!(whole.1, parts.1),
            (whole, parts) => prop_assert!(whole.is_err() && parts.is_err()),
        }
    }
}
