//! Hashes as people see them.

/// Bytes in hexadecimal, two lower-case digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
