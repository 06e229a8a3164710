//! What can be wrong with a GGUF file.

/// Why a file is not a model that can be loaded. The reader gives these for any bytes whatever; it never panics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("this is not a GGUF file (it does not begin with `GGUF`): choose a model file that ends in .gguf")]
    NotGguf,
    /// A version of the format this reader does not know.
    #[error("GGUF version {0} is not supported (2 and 3 are): convert the model again with a current llama.cpp")]
    Version(u32),
    /// A file written for big-endian machines.
    #[error("this GGUF file is big-endian: convert the model again without the big-endian option")]
    BigEndian,
    /// Metadata and tensor list do not end within the bound.
    #[error("the GGUF header is larger than {limit} bytes: the file is damaged or not a language model")]
    HeaderTooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// A count in the header is beyond any real model.
    #[error("the GGUF header announces {count} {what}, more than the {limit} allowed: the file is damaged")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The number in the file.
        count: u64,
        /// The bound.
        limit: u64,
    },
    /// Text in the header is not UTF-8.
    #[error("the GGUF header has text that is not UTF-8 at byte {at}: the file is damaged")]
    Text {
        /// Offset from the start of the file.
        at: u64,
    },
    /// A metadata entry is missing, of the wrong type or out of range.
    #[error("GGUF metadata `{key}`: {reason}")]
    Metadata {
        /// The key in the file.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is described in a way that cannot be.
    #[error("GGUF tensor `{name}`: {reason}")]
    Tensor {
        /// The tensor's name in the file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is stored in a type that this engine does not compute with.
    #[error(
        "GGUF tensor `{name}` is stored as {ty}, which is not supported: \
         use a file quantised as F32, F16, Q4_0, Q4_1 or Q8_0"
    )]
    UnsupportedType {
        /// The tensor's name in the file.
        name: String,
        /// The type's name, or its number where it is unknown.
        ty: String,
    },
    /// The file ends before everything that its header announces.
    #[error("the GGUF file is cut short: {got} bytes of at least {expected}; download it again")]
    Truncated {
        /// Bytes the header asks for (a lower bound while the header itself is incomplete).
        expected: u64,
        /// Bytes seen.
        got: u64,
    },
}

impl GgufError {
    pub(crate) fn metadata(key: &str, reason: impl Into<String>) -> Self {
        Self::Metadata { key: key.to_owned(), reason: reason.into() }
    }

    pub(crate) fn tensor(name: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { name: name.to_owned(), reason: reason.into() }
    }
}
