//! The versioned encoding of a session record, bound to its key.

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no record of a version we read.
    #[error("not a session record of a known version")]
    Format,
}
