//! Figures for TensorBoard: scalars in its event file format (length, checksum, protocol buffer, checksum).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use crc::{CRC_32_ISCSI, Crc};

/// The checksum of TensorFlow's records, before it is masked.
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// An event file in the making.
pub(crate) struct EventFile {
    file: File,
}

impl EventFile {
    /// The one event file of a folder; an older one is replaced, so that a resumed run does not show steps twice.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("events.out.tfevents.0.tmem");
        let made = || -> std::io::Result<Self> {
            fs::create_dir_all(folder)?;
            let mut file = Self { file: File::create(&path)? };
            file.write(&event(None, &field(3, b"brain.Event:2")))?;
            Ok(file)
        };
        made().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds the values that a step has under their names.
    pub(crate) fn put(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for &(name, value) in values {
            let mut scalar = field(1, name.as_bytes());
            scalar.push(key(2, 5));
            scalar.extend((value as f32).to_le_bytes());
            summary.extend(field(1, &scalar));
        }
        self.write(&event(Some(step), &field(5, &summary)))?;
        Ok(())
    }

    fn write(&mut self, event: &[u8]) -> std::io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()];
        self.file.write_all(&record.concat())?;
        self.file.flush()
    }
}

/// An `Event`: when, at which step, and what.
fn event(step: Option<usize>, what: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let mut bytes = vec![key(1, 1)];
    bytes.extend(now.to_le_bytes());
    if let Some(step) = step {
        bytes.push(key(2, 0));
        bytes.extend(varint(step as u64));
    }
    bytes.extend(what);
    bytes
}

/// The first byte of a field: its number and its wire type.
fn key(number: u8, wire_type: u8) -> u8 {
    number << 3 | wire_type
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![key(number, 2)];
    all.extend(varint(bytes.len() as u64));
    all.extend(bytes);
    all
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn masked(bytes: &[u8]) -> u32 {
    CHECKSUM.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_tensorboard_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path()).unwrap();
        file.put(300, &[("reward", 0.5), ("loss", -1.0)]).unwrap();
        let bytes = fs::read(folder.path().join("events.out.tfevents.0.tmem")).unwrap();
        let mut records = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((length, more)) = rest.split_first_chunk::<8>() {
            let size = u64::from_le_bytes(*length) as usize;
            assert_eq!(more[..4], masked(length).to_le_bytes());
            let (event, after) = more[4..].split_at(size);
            assert_eq!(after[..4], masked(event).to_le_bytes());
            records.push(event);
            rest = &after[4..];
        }
        assert_eq!(records.len(), 2);
        // Behind the time: field 3, "brain.Event:2"; then step 300 and two values.
        assert_eq!(records[0][9..], [&[0x1a, 13][..], b"brain.Event:2"].concat());
        let value = |name: &[u8], value: f32| {
            [&[0x0a, name.len() as u8 + 7, 0x0a, name.len() as u8][..], name, &[0x15], &value.to_le_bytes()].concat()
        };
        let summary = [value(b"reward", 0.5), value(b"loss", -1.0)].concat();
        let expected = [&[0x10, 0xac, 0x02, 0x2a, summary.len() as u8][..], &summary].concat();
        assert_eq!(records[1][9..], expected);
        // The checksum of RFC 3720's example, masked by hand.
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
