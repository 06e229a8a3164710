//! GGUF files, read as a stream: bytes go in as they arrive, whole rows of tensors come out.
//!
//! A page cannot hold a model twice. So the reader keeps the header (bounded) and at most one piece of a tensor
//! (≤ 4 MiB), and hands every piece on as soon as it is complete. Where pieces are cut depends on the file alone, not
//! on how it was chunked. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod error;
mod header;
mod metadata;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) mod writer;

pub use error::GgufError;
use header::HeaderParser;
pub use header::{GgufHeader, TensorInfo};
pub use metadata::{FromMetadata, Metadata};

/// Largest piece of a tensor handed out at once. Browsers take several writes of this size faster than one large one.
pub const MAX_PIECE_BYTES: usize = 4 << 20;

/// Bytes given to the header parser at once: bounds what it holds beyond the header itself.
const HEADER_CHUNK: usize = 64 << 10;

/// Consecutive whole rows of one tensor.
#[derive(Debug, Clone, Copy)]
pub struct TensorPiece<'a> {
    /// Index into [`GgufHeader::tensors`].
    pub index: usize,
    /// The tensor.
    pub tensor: &'a TensorInfo,
    /// Row of the tensor with which the piece begins.
    pub first_row: usize,
    /// The rows as stored, a multiple of [`TensorInfo::row_bytes`], at most [`MAX_PIECE_BYTES`].
    pub bytes: &'a [u8],
}

/// Push parser for a GGUF file.
///
/// ```no_run
/// # use tmem_core::model::gguf::{GgufError, GgufReader};
/// # fn chunks() -> Vec<Vec<u8>> { vec![] }
/// let mut reader = GgufReader::new();
/// for chunk in chunks() {
///     reader.push(&chunk, |_header, piece| {
///         println!("{} row {}: {} bytes", piece.tensor.name, piece.first_row, piece.bytes.len());
///         Ok::<_, GgufError>(())
///     })?;
/// }
/// let header = reader.finish()?;
/// # Ok::<_, GgufError>(())
/// ```
pub struct GgufReader(State);

enum State {
    Header(HeaderParser),
    Data(DataReader),
}

impl Default for GgufReader {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufReader {
    /// A reader in front of the first byte.
    pub fn new() -> Self {
        Self(State::Header(HeaderParser::new()))
    }

    /// The header, once all of it has been pushed.
    pub fn header(&self) -> Option<&GgufHeader> {
        match &self.0 {
            State::Header(_) => None,
            State::Data(data) => Some(&data.header),
        }
    }

    /// Takes the next bytes of the file and gives `sink` every piece that they complete, in file order. Bytes between
    /// and after the tensors are ignored.
    ///
    /// # Errors
    /// The file is damaged or not supported, or `sink` failed. The reader cannot be used afterwards.
    pub fn push<E: From<GgufError>>(
        &mut self,
        mut chunk: &[u8],
        mut sink: impl FnMut(&GgufHeader, TensorPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            match &mut self.0 {
                State::Header(_) if chunk.is_empty() => return Ok(()),
                State::Header(parser) => {
                    let (head, tail) = chunk.split_at(chunk.len().min(HEADER_CHUNK));
                    chunk = tail;
                    if let Some((header, length, rest)) = parser.push(head)? {
                        let mut data = DataReader::new(header, length)?;
                        data.push(&rest, &mut sink)?;
                        self.0 = State::Data(data);
                    }
                }
                State::Data(data) => return data.push(chunk, &mut sink),
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Bytes are missing.
    pub fn finish(self) -> Result<GgufHeader, GgufError> {
        match self.0 {
            // The smallest file there is: the preamble alone.
            State::Header(parser) => {
                Err(GgufError::Truncated { expected: (parser.seen() + 1).max(24), got: parser.seen() })
            }
            State::Data(data) if data.next < data.order.len() => {
                Err(GgufError::Truncated { expected: data.header.file_bytes(), got: data.position })
            }
            State::Data(data) => Ok(data.header),
        }
    }
}

/// Cuts the data section into pieces.
struct DataReader {
    header: GgufHeader,
    /// Tensor indices by offset: files may store them in another order than they list them.
    order: Vec<usize>,
    /// Position in `order`.
    next: usize,
    /// First row that has not been handed out of the tensor `next`.
    row: usize,
    /// The bytes of a piece that is not complete.
    pending: Vec<u8>,
    /// Bytes of the file taken so far.
    position: u64,
}

impl DataReader {
    fn new(header: GgufHeader, position: u64) -> Result<Self, GgufError> {
        let mut order: Vec<usize> = (0..header.tensors.len()).collect();
        order.sort_by_key(|&i| header.tensors.get(i).map(|t| t.offset));
        let mut end = 0;
        for tensor in order.iter().filter_map(|&i| header.tensors.get(i)) {
            if tensor.offset < end {
                return Err(GgufError::tensor(&tensor.name, "overlaps with the tensor stored before it"));
            }
            end = tensor.offset + tensor.bytes();
        }
        Ok(Self { header, order, next: 0, row: 0, pending: Vec::new(), position })
    }

    /// The next bytes, which are those of one piece at most; what is left of `chunk` after them.
    fn take<'a>(&mut self, chunk: &'a [u8], len: u64) -> (&'a [u8], &'a [u8]) {
        let taken = chunk.split_at(len.min(chunk.len() as u64) as usize);
        self.position += taken.0.len() as u64;
        taken
    }

    fn push<E>(
        &mut self,
        mut chunk: &[u8],
        sink: &mut impl FnMut(&GgufHeader, TensorPiece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !chunk.is_empty() {
            let Some((index, tensor)) = self.order.get(self.next).and_then(|&i| Some((i, self.header.tensors.get(i)?)))
            else {
                self.position += chunk.len() as u64;
                return Ok(());
            };
            let (start, rows) = (self.header.data_start + tensor.offset, tensor.rows);
            if self.position < start {
                chunk = self.take(chunk, start - self.position).1;
                continue;
            }
            let row_bytes = tensor.row_bytes();
            let piece_rows = (MAX_PIECE_BYTES / row_bytes).clamp(1, rows - self.row);
            let missing = piece_rows * row_bytes - self.pending.len();
            let (taken, rest) = self.take(chunk, missing as u64);
            chunk = rest;
            let whole = taken.len() == missing;
            if !whole || !self.pending.is_empty() {
                self.pending.extend_from_slice(taken);
            }
            if whole {
                let bytes = if self.pending.is_empty() { taken } else { &self.pending };
                let Some(tensor) = self.header.tensors.get(index) else { return Ok(()) };
                sink(&self.header, TensorPiece { index, tensor, first_row: self.row, bytes })?;
                self.pending.clear();
                self.row += piece_rows;
                if self.row == rows {
                    (self.next, self.row) = (self.next + 1, 0);
                }
            }
        }
        Ok(())
    }
}
