//! Streams the records of a benchmark's file: one at a time, so that a file of gigabytes needs the memory of one record.

mod scan;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub(crate) use text::{OneOrMany, Text};

use self::scan::{ScanError, Scanner};
use super::error::{BenchError, Place};

/// How the records stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A JSON array of records.
    Array,
    /// Values one after another: JSON lines.
    Lines,
}

/// The records of a file, read as they are asked for. After an error there are none.
#[derive(Debug)]
pub struct Records<T, R = BufReader<File>> {
    scanner: Scanner<R>,
    file: PathBuf,
    layout: Layout,
    index: usize,
    done: bool,
    buffer: Vec<u8>,
    record: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Records<T> {
    /// Opens a file that holds a JSON array or JSON lines; which of them is seen from its first byte.
    ///
    /// # Errors
    /// [`BenchError::Read`], or [`BenchError::Structure`] where the file begins with neither.
    pub fn open(file: &Path) -> Result<Self, BenchError> {
        Self::open_within(file, None)
    }

    /// As [`open`](Self::open); besides, the file may be one object that has the array of records in its field `key`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_within(file: &Path, key: Option<&str>) -> Result<Self, BenchError> {
        let read = |source| BenchError::Read { file: file.to_owned(), source };
        let reader = BufReader::with_capacity(1 << 16, File::open(file).map_err(read)?);
        Self::from_reader(file, reader, key)
    }
}

impl<T: DeserializeOwned, R: BufRead> Records<T, R> {
    /// Reads from anything; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub fn from_reader(file: &Path, reader: R, key: Option<&str>) -> Result<Self, BenchError> {
        let mut records = Self {
            scanner: Scanner::new(reader),
            file: file.to_owned(),
            layout: Layout::Lines,
            index: 0,
            done: false,
            buffer: Vec::new(),
            record: PhantomData,
        };
        records.begin(key).map_err(|e| records.error(e))?;
        Ok(records)
    }

    fn begin(&mut self, key: Option<&str>) -> Result<(), ScanError> {
        match (self.scanner.peek_token()?, key) {
            (Some(b'['), _) => self.scanner.expect(b'[')?,
            (Some(b'{'), Some(key)) => self.find(key)?,
            (Some(b'{'), None) => return Ok(()),
            (Some(_), _) => {
                return Err(ScanError::Bad("neither a JSON array nor JSON lines: is it the right file?".to_owned()));
            }
            (None, _) => return Err(ScanError::Bad("the file is empty".to_owned())),
        }
        self.layout = Layout::Array;
        Ok(())
    }

    /// Goes on to the first record of the array in field `key` of the object that begins here.
    fn find(&mut self, key: &str) -> Result<(), ScanError> {
        self.scanner.expect(b'{')?;
        let quoted = format!("\"{key}\"");
        loop {
            if self.scanner.peek_token()? == Some(b'}') {
                return Err(ScanError::Bad(format!("the object has no field `{key}`")));
            }
            self.scanner.value(&mut self.buffer)?;
            let found = self.buffer == quoted.as_bytes();
            self.scanner.expect(b':')?;
            if found {
                return self.scanner.expect(b'[');
            }
            self.scanner.value(&mut self.buffer)?;
            if self.scanner.peek_token()? == Some(b',') {
                self.scanner.expect(b',')?;
            }
        }
    }

    fn error(&self, error: ScanError) -> BenchError {
        match error {
            ScanError::Read(source) => BenchError::Read { file: self.file.clone(), source },
            ScanError::Bad(reason) => {
                BenchError::Structure { file: self.file.clone(), line: self.scanner.line, reason }
            }
        }
    }

    /// Cuts out the next record and says where it begins.
    fn cut(&mut self) -> Result<Option<Place>, ScanError> {
        match (self.scanner.peek_token()?, self.layout) {
            (None, Layout::Lines) | (Some(b']'), Layout::Array) => return Ok(None),
            (Some(b','), Layout::Array) if self.index > 0 => self.scanner.expect(b',')?,
            (Some(b'{' | b'['), Layout::Array) if self.index > 0 => self.scanner.expect(b',')?,
            (None, Layout::Array) => {
                return Err(ScanError::Bad("the file ends within the list: was it downloaded whole?".to_owned()));
            }
            _ => {}
        }
        self.scanner.peek_token()?;
        let place = Place { file: self.file.clone(), line: self.scanner.line, index: self.index };
        self.scanner.value(&mut self.buffer)?;
        self.index += 1;
        Ok(Some(place))
    }

    fn parse(&self, place: &Place) -> Result<T, BenchError> {
        let mut json = serde_json::Deserializer::from_slice(&self.buffer);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let inner = error.inner();
            let reason = inner.to_string();
            // The parser counts lines from the record's beginning; the reader of the message wants the file's.
            let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(before, _)| before).to_owned();
            let place = Place { line: place.line + inner.line().saturating_sub(1), ..place.clone() };
            place.fault((error.path().to_string(), reason))
        })
    }
}

impl<T: DeserializeOwned, R: BufRead> Iterator for Records<T, R> {
    type Item = Result<(Place, T), BenchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = match self.cut() {
            Ok(None) => None,
            Ok(Some(place)) => Some(self.parse(&place).map(|record| (place, record))),
            Err(error) => Some(Err(self.error(error))),
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
