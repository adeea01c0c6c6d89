//! Server-Sent Events as text (WHATWG HTML 9.2): frames, control blocks, and their gzip form. No I/O.

pub mod control;
pub mod frame;
pub mod gzip;
