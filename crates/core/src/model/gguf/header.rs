//! The header of a GGUF file: metadata and tensor list, parsed as the bytes arrive.
//!
//! Layout (GGUF specification, versions 2 and 3, little-endian): magic, version u32, tensor count u64, metadata count
//! u64, metadata entries (key, type u32, value), tensor entries (name, number of dimensions u32, dimensions u64 each,
//! type u32, offset u64), padding to the alignment, tensor data. Text is a u64 length and UTF-8 bytes.

use std::collections::HashSet;

use tmem_gpu::SourceType;

use super::metadata::{ScalarType, Value, ValueType};
use super::{GgufError, MAX_PIECE_BYTES, Metadata};

/// Bound on metadata and tensor list. Real headers are dominated by the vocabulary (2 MB at 49,152 tokens, under 16 MB
/// at 262,144).
pub(super) const MAX_HEADER_BYTES: u64 = 32 << 20;
const MAX_METADATA: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_DIMENSIONS: u32 = 4;
const MAX_ALIGNMENT: u32 = 1 << 20;
const DEFAULT_ALIGNMENT: u32 = 32;

/// How numbers of ggml's type `code` are stored, where that is supported.
fn source_of(code: u32) -> Option<SourceType> {
    Some(match code {
        0 => SourceType::F32,
        1 => SourceType::F16,
        2 => SourceType::Q4_0,
        3 => SourceType::Q4_1,
        6 => SourceType::Q5_0,
        7 => SourceType::Q5_1,
        8 => SourceType::Q8_0,
        10 => SourceType::Q2K,
        11 => SourceType::Q3K,
        12 => SourceType::Q4K,
        13 => SourceType::Q5K,
        14 => SourceType::Q6K,
        20 => SourceType::Iq4Nl,
        30 => SourceType::Bf16,
        _ => return None,
    })
}

/// Names of ggml's other types, to say which one a file uses.
fn type_name(code: u32) -> String {
    let name = match code {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("unknown type {code}"),
    };
    name.to_owned()
}

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How the numbers are stored.
    pub source: SourceType,
    /// Numbers in a row (the fastest dimension; the inputs of a linear map).
    pub row_len: usize,
    /// Rows (the product of the other dimensions; the outputs of a linear map, 1 for a vector).
    pub rows: usize,
    /// Bytes from the start of the data section to the first row.
    pub offset: u64,
}

impl TensorInfo {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        // The constructor checked that rows are whole blocks.
        self.source.row_bytes(self.row_len).unwrap_or(usize::MAX)
    }

    /// Bytes of the whole tensor.
    pub fn bytes(&self) -> u64 {
        // The constructor checked that the product fits.
        self.rows as u64 * self.row_bytes() as u64
    }

    /// Bytes of the tensor on the GPU: more than in the file where the device has no format as narrow.
    pub fn device_bytes(&self) -> u64 {
        self.source.format().bytes(self.rows, self.row_len)
    }

    fn checked(name: &str, dimensions: &[u64], code: u32, offset: u64) -> Result<Self, GgufError> {
        let wrong = |reason: String| GgufError::tensor(name, reason);
        let Some(source) = source_of(code) else {
            return Err(GgufError::UnsupportedType { name: name.to_owned(), ty: type_name(code) });
        };
        if dimensions.contains(&0) {
            return Err(wrong(format!("has an empty dimension in {dimensions:?}")));
        }
        let too_large = || wrong(format!("its dimensions {dimensions:?} do not fit into this machine's memory"));
        let row_len = usize::try_from(dimensions.first().copied().unwrap_or(1)).map_err(|_| too_large())?;
        let rows =
            dimensions.iter().skip(1).try_fold(1_usize, |product, &d| product.checked_mul(usize::try_from(d).ok()?));
        let rows = rows.ok_or_else(too_large)?;
        let (block, _) = source.unit();
        if row_len % block != 0 {
            return Err(wrong(format!("a row of {row_len} is not a multiple of the {block} in a block")));
        }
        let row_bytes = source.row_bytes(row_len).ok_or_else(too_large)?;
        if row_bytes > MAX_PIECE_BYTES {
            return Err(wrong(format!("a row of {row_bytes} bytes is longer than the {MAX_PIECE_BYTES} allowed")));
        }
        let bytes = (row_bytes as u64).checked_mul(rows as u64).ok_or_else(too_large)?;
        // Room for the start of the data section, so that later sums cannot overflow.
        bytes.checked_add(offset).and_then(|end| end.checked_add(2 * MAX_HEADER_BYTES)).ok_or_else(too_large)?;
        Ok(Self { name: name.to_owned(), source, row_len, rows, offset })
    }
}

/// Everything in front of the tensor data.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    /// Key-value pairs.
    pub metadata: Metadata,
    /// Tensors in the order of the header.
    pub tensors: Vec<TensorInfo>,
    /// Offset in the file at which tensor data starts.
    pub data_start: u64,
}

impl GgufHeader {
    /// The tensor of this name and its index.
    pub fn tensor(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        self.tensors.iter().enumerate().find(|(_, t)| t.name == name)
    }

    /// Bytes a complete file has at least: the end of the last tensor.
    pub fn file_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| self.data_start + t.offset + t.bytes()).max().unwrap_or(self.data_start)
    }
}

/// Why a step of the parser stopped.
enum Stop {
    /// The bytes so far are fine but more are needed.
    More,
    Error(GgufError),
}

impl From<GgufError> for Stop {
    fn from(error: GgufError) -> Self {
        Self::Error(error)
    }
}

/// Reads from the bytes at hand; `base` is their offset in the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
}

impl<'a> Cursor<'a> {
    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Stop> {
        if len > MAX_HEADER_BYTES || self.position() + len > MAX_HEADER_BYTES {
            return Err(GgufError::HeaderTooLarge { limit: MAX_HEADER_BYTES }.into());
        }
        let end = self.at + len as usize;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::More)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N as u64)?.try_into().map_err(|_| Stop::More)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, Stop> {
        let len = self.u64()?;
        let at = self.position();
        std::str::from_utf8(self.take(len)?).map_err(|_| GgufError::Text { at }.into())
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Stop> {
        let count = self.u64()?;
        if count > limit { Err(GgufError::Count { what, count, limit }.into()) } else { Ok(count) }
    }
}

enum Stage {
    Preamble,
    Entry,
    Strings { key: String, left: u64, texts: Vec<String> },
    Scalars { key: String, left: u64, ty: ScalarType, bytes: Vec<u8> },
    Tensor,
    Done,
}

/// Incremental parser: every byte is looked at a bounded number of times however small the chunks are.
pub(super) struct HeaderParser {
    stage: Stage,
    buffer: Vec<u8>,
    consumed: u64,
    entries_left: u64,
    tensors_left: u64,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    names: HashSet<String>,
}

impl HeaderParser {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Preamble,
            buffer: Vec::new(),
            consumed: 0,
            entries_left: 0,
            tensors_left: 0,
            metadata: Metadata::default(),
            tensors: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Bytes seen so far.
    pub(super) fn seen(&self) -> u64 {
        self.consumed + self.buffer.len() as u64
    }

    /// Takes more bytes. Once the header is complete: the header, its length in bytes, and the bytes after it.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Option<(GgufHeader, u64, Vec<u8>)>, GgufError> {
        self.buffer.extend_from_slice(chunk);
        let buffer = std::mem::take(&mut self.buffer);
        let mut cursor = Cursor { bytes: &buffer, at: 0, base: self.consumed };
        let stopped = loop {
            let start = cursor.at;
            match self.step(&mut cursor) {
                Ok(()) if matches!(self.stage, Stage::Done) => break None,
                Ok(()) => {}
                Err(Stop::More) => break Some(start),
                Err(Stop::Error(error)) => return Err(error),
            }
        };
        let used = stopped.unwrap_or(cursor.at);
        self.consumed += used as u64;
        let rest = buffer.get(used..).unwrap_or_default().to_vec();
        if stopped.is_some() {
            self.buffer = rest;
            return Ok(None);
        }
        Ok(Some((self.complete()?, self.consumed, rest)))
    }

    fn complete(&mut self) -> Result<GgufHeader, GgufError> {
        let key = "general.alignment";
        let alignment = self.metadata.find::<u32>(key)?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return Err(GgufError::metadata(key, format!("{alignment} is not a power of two up to {MAX_ALIGNMENT}")));
        }
        if let Some(tensor) = self.tensors.iter().find(|t| !t.offset.is_multiple_of(alignment.into())) {
            let reason = format!("its offset {} is not a multiple of the alignment {alignment}", tensor.offset);
            return Err(GgufError::tensor(&tensor.name, reason));
        }
        Ok(GgufHeader {
            metadata: std::mem::take(&mut self.metadata),
            tensors: std::mem::take(&mut self.tensors),
            data_start: self.consumed.next_multiple_of(alignment.into()),
        })
    }

    /// One entry or one array element. On [`Stop::More`] nothing has changed.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        match &mut self.stage {
            Stage::Preamble => {
                // A wrong magic is said at once, not after the other fields have arrived.
                let seen = cursor.bytes.len().min(4);
                if cursor.bytes.get(..seen) != b"GGUF".get(..seen) {
                    return Err(GgufError::NotGguf.into());
                }
                cursor.take(4)?;
                match cursor.u32()? {
                    2 | 3 => {}
                    v if matches!(v.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian.into()),
                    v => return Err(GgufError::Version(v).into()),
                }
                self.tensors_left = cursor.count("tensors", MAX_TENSORS)?;
                self.entries_left = cursor.count("metadata entries", MAX_METADATA)?;
                self.stage = Stage::Entry;
            }
            Stage::Entry if self.entries_left == 0 => self.stage = Stage::Tensor,
            Stage::Entry => self.entry(cursor)?,
            Stage::Strings { left: 0, key, texts } => {
                let value = Value::Strings(std::mem::take(texts));
                self.metadata.insert(std::mem::take(key), value);
                self.stage = Stage::Entry;
            }
            Stage::Strings { left, texts, .. } => {
                texts.push(cursor.text()?.to_owned());
                *left -= 1;
            }
            Stage::Scalars { left: 0, key, ty, bytes } => {
                let value = Value::Scalars(*ty, std::mem::take(bytes));
                self.metadata.insert(std::mem::take(key), value);
                self.stage = Stage::Entry;
            }
            Stage::Scalars { left, ty, bytes, .. } => {
                let here = cursor.bytes.len() - cursor.at;
                let elements = ((here / ty.size()) as u64).clamp(1, *left);
                bytes.extend_from_slice(cursor.take(elements * ty.size() as u64)?);
                *left -= elements;
            }
            Stage::Tensor if self.tensors_left == 0 => self.stage = Stage::Done,
            Stage::Tensor => {
                let name = cursor.text()?;
                let count = cursor.u32()?;
                if count > MAX_DIMENSIONS {
                    let reason = format!("has {count} dimensions, more than the {MAX_DIMENSIONS} allowed");
                    return Err(GgufError::tensor(name, reason).into());
                }
                let dimensions = (0..count).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
                let (code, offset) = (cursor.u32()?, cursor.u64()?);
                let tensor = TensorInfo::checked(name, &dimensions, code, offset)?;
                if !self.names.insert(name.to_owned()) {
                    return Err(GgufError::tensor(name, "is in the file twice").into());
                }
                self.tensors.push(tensor);
                self.tensors_left -= 1;
            }
            Stage::Done => {}
        }
        Ok(())
    }

    /// A metadata entry; of an array only its head, the elements follow one by one.
    fn entry(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        let key = cursor.text()?;
        let code = cursor.u32()?;
        let unknown = |code| GgufError::metadata(key, format!("has the unknown value type {code}"));
        if self.metadata.contains(key) {
            return Err(GgufError::metadata(key, "is in the file twice").into());
        }
        match ValueType::from_code(code).ok_or_else(|| unknown(code))? {
            ValueType::Scalar(ty) => {
                let mut bytes = [0; 8];
                let taken = cursor.take(ty.size() as u64)?;
                bytes.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
                self.metadata.insert(key.to_owned(), Value::Scalar(ty, bytes));
            }
            ValueType::String => self.metadata.insert(key.to_owned(), Value::String(cursor.text()?.to_owned())),
            ValueType::Array => {
                let (code, left) = (cursor.u32()?, cursor.u64()?);
                self.stage = match ValueType::from_code(code).ok_or_else(|| unknown(code))? {
                    ValueType::Scalar(ty) => Stage::Scalars { key: key.to_owned(), left, ty, bytes: Vec::new() },
                    ValueType::String => Stage::Strings { key: key.to_owned(), left, texts: Vec::new() },
                    ValueType::Array => {
                        return Err(GgufError::metadata(key, "is an array of arrays, which no model needs").into());
                    }
                };
            }
        }
        self.entries_left -= 1;
        Ok(())
    }
}
