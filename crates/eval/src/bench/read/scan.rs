//! Cuts one JSON value after another out of a stream of bytes, without building it.
//!
//! Only nesting and strings are understood: whether a value is valid JSON is left to the parser that gets it.

use std::io::{BufRead, Error};

/// The largest value that is cut out, in bytes: LongMemEval-M's instances have some 8 MB.
pub(super) const MAX_VALUE_BYTES: usize = 256 << 20;

/// Why no value could be cut out.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The stream failed.
    Read(Error),
    /// The stream ended within a value, or a value is too long, or something else stands where one should.
    Bad(String),
}

impl From<Error> for ScanError {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}

/// Reads bytes and counts lines.
#[derive(Debug)]
pub(super) struct Scanner<R> {
    reader: R,
    /// Line of the next byte, from 1.
    pub(super) line: usize,
}

impl<R: BufRead> Scanner<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 1 }
    }

    fn peek(&mut self) -> Result<Option<u8>, Error> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn next(&mut self) -> Result<Option<u8>, Error> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.line += usize::from(byte == b'\n');
        }
        Ok(byte)
    }

    /// Skips white space (and a byte order mark at the very beginning) and looks at what follows.
    pub(super) fn peek_token(&mut self) -> Result<Option<u8>, ScanError> {
        if self.line == 1 && self.reader.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
            self.reader.consume(3);
        }
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.next()?;
        }
        Ok(None)
    }

    /// Skips white space and takes what follows, which must be `expected`.
    pub(super) fn expect(&mut self, expected: u8) -> Result<(), ScanError> {
        match self.peek_token()? {
            Some(byte) if byte == expected => Ok(self.next().map(|_| ())?),
            Some(byte) => Err(ScanError::Bad(format!("`{}` where `{}` should stand", shown(byte), shown(expected)))),
            None => Err(ScanError::Bad(format!("the file ends where `{}` should stand", shown(expected)))),
        }
    }

    /// Cuts out the next value. `out` is cleared first.
    pub(super) fn value(&mut self, out: &mut Vec<u8>) -> Result<(), ScanError> {
        out.clear();
        match self.peek_token()? {
            Some(b'{' | b'[' | b'"') => self.nested(out),
            Some(b'}' | b']' | b',' | b':') | None => Err(ScanError::Bad("a value is missing".to_owned())),
            Some(_) => self.scalar(out),
        }
    }

    fn scalar(&mut self, out: &mut Vec<u8>) -> Result<(), ScanError> {
        while let Some(byte) = self.peek()? {
            if byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']' | b':') {
                break;
            }
            self.push(byte, out)?;
            self.next()?;
        }
        Ok(())
    }

    fn nested(&mut self, out: &mut Vec<u8>) -> Result<(), ScanError> {
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        while let Some(byte) = self.next()? {
            self.push(byte, out)?;
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if depth == 0 && !in_string {
                return Ok(());
            }
        }
        Err(ScanError::Bad("the file ends within a value: was it downloaded whole?".to_owned()))
    }

    fn push(&self, byte: u8, out: &mut Vec<u8>) -> Result<(), ScanError> {
        if out.len() >= MAX_VALUE_BYTES {
            return Err(ScanError::Bad(format!("a value is longer than {MAX_VALUE_BYTES} bytes")));
        }
        out.push(byte);
        Ok(())
    }
}

fn shown(byte: u8) -> String {
    char::from(byte).escape_default().to_string()
}
