//! A small GGUF writer for tests.

/// Builds a GGUF file in memory: entries and tensors in the order they were added.
#[derive(Debug, Clone)]
pub(crate) struct GgufWriter {
    pub(crate) version: u32,
    pub(crate) alignment: u64,
    entries: Vec<Vec<u8>>,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    dimensions: Vec<u64>,
    code: u32,
    data: Vec<u8>,
    offset: Option<u64>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl GgufWriter {
    pub(crate) fn new() -> Self {
        Self { version: 3, alignment: 32, entries: vec![], tensors: vec![] }
    }

    /// An entry whose value is given as its bytes in the file.
    pub(crate) fn raw(mut self, key: &str, code: u32, value: &[u8]) -> Self {
        let mut entry = vec![];
        text(&mut entry, key);
        entry.extend(code.to_le_bytes());
        entry.extend(value);
        self.entries.push(entry);
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[u8::from(value)])
    }

    pub(crate) fn string(self, key: &str, value: &str) -> Self {
        let mut bytes = vec![];
        text(&mut bytes, value);
        self.raw(key, 8, &bytes)
    }

    pub(crate) fn strings(self, key: &str, values: &[&str]) -> Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(&mut bytes, value));
        self.raw(key, 9, &bytes)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let mut bytes = 5_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        self.raw(key, 9, &bytes)
    }

    /// A tensor; `dimensions` in the order of the file (row length first), `code` is ggml's type number.
    pub(crate) fn tensor(mut self, name: &str, dimensions: &[u64], code: u32, data: &[u8]) -> Self {
        let (name, dimensions, data) = (name.to_owned(), dimensions.to_vec(), data.to_vec());
        self.tensors.push(Tensor { name, dimensions, code, data, offset: None });
        self
    }

    /// Gives the last tensor an offset of one's own instead of the next free one.
    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.tensors.last_mut().unwrap().offset = Some(offset);
        self
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        out.extend(self.entries.iter().flatten());
        let (mut free, mut offsets) = (0_u64, vec![]);
        for tensor in &self.tensors {
            let offset = tensor.offset.unwrap_or(free);
            offsets.push(offset);
            free = (offset.saturating_add(tensor.data.len() as u64)).next_multiple_of(self.alignment);
            text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor.dimensions.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(tensor.code.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        let start = out.len().next_multiple_of(self.alignment as usize);
        for (tensor, offset) in self.tensors.iter().zip(offsets) {
            let at = start.saturating_add(offset as usize);
            // Offsets made up to be absurd describe data that is not there.
            if at < 1 << 30 {
                out.resize(out.len().max(at + tensor.data.len()), 0);
                out[at..at + tensor.data.len()].copy_from_slice(&tensor.data);
            }
        }
        out
    }
}
