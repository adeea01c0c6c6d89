//! Files that operators write: read with clear errors, and read again when they change.

pub mod pem;
pub mod text;
pub mod watched;
