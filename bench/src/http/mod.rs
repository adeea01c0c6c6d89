//! HTTP/1.1 as a load generator needs it: requests that are ready to be written, and responses as they arrive.

mod preset;
mod publish_request;
mod response;
mod target;

pub use preset::Preset;
pub(crate) use publish_request::PublishRequest;
pub(crate) use response::Response;
pub(crate) use target::Target;
pub use target::{TargetError, TargetOptions};

/// How many bytes of a rejection are quoted in a problem.
pub(crate) const QUOTED_BYTES: usize = 200;
