//! What a stream was let in under: kept for as long as the stream is open, by whatever carries it.

/// What a stream was let in under.
#[derive(Debug, Default)]
pub struct Admission {}
