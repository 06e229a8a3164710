//! What can go wrong on a GPU, with the way out in each message.

/// An error of the GPU layer. None of these is a bug of the caller's data: they say what the
/// device, driver or browser refused and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// No adapter at all, or none that matches the wish.
    #[error("no GPU adapter found{wish}. {hint}")]
    NoAdapter {
        /// " matching `…`" where a name was asked for, else empty.
        wish: String,
        /// What to install or to switch on.
        hint: String,
    },
    /// The adapter exists but gave no device.
    #[error("the adapter `{adapter}` gave no device: {reason}")]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A single buffer is larger than the device can bind.
    #[error(
        "`{label}` needs {size} bytes in one binding, this device allows {limit}: \
         use a smaller model or context"
    )]
    TooLarge {
        /// What the buffer was for.
        label: String,
        /// Bytes asked for.
        size: u64,
        /// Bytes the device can bind at once.
        limit: u64,
    },
    /// The device ran out of memory.
    #[error("the GPU is out of memory ({0}): close other programs or use a smaller context")]
    OutOfMemory(String),
    /// The device was lost (driver reset, tab suspended, GPU removed).
    #[error("the GPU device was lost ({0}): load the model again")]
    DeviceLost(String),
    /// A command was invalid. This is a bug in tmem, reported rather than panicked on.
    #[error("the GPU refused a command, a bug in tmem: {0}")]
    Validation(String),
    /// A launcher was called with sizes that do not fit together.
    #[error("{op}: {reason}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What does not fit.
        reason: String,
    },
}

/// Result of a GPU call.
pub type Result<T, E = GpuError> = std::result::Result<T, E>;
