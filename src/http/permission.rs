//! Asks `auth` whether a request may publish or read, with the credential that it carries.

use hyper::Request;

use super::connection::request_body::RequestBody;
use super::credential::Credential;
use super::error::RequestError;
use crate::auth::{PublishGrant, ReadGrant};
use crate::event::PipelineId;
use crate::node::Node;

/// Whether a request may publish. Asked again after its body has arrived.
pub(super) async fn may_publish(
    node: &Node,
    pipeline: PipelineId,
    request: &Request<RequestBody>,
) -> Result<PublishGrant, RequestError> {
    Ok(node.auth.publish(pipeline, credential(node, request).presented()).await?)
}

/// Whether a request may read.
pub(super) async fn may_read(
    node: &Node,
    pipeline: PipelineId,
    request: &Request<RequestBody>,
) -> Result<ReadGrant, RequestError> {
    Ok(node.auth.read(pipeline, credential(node, request).presented()).await?)
}

fn credential<'a>(node: &Node, request: &'a Request<RequestBody>) -> Credential<'a> {
    Credential::of(request.method(), request.headers(), request.uri().query(), &node.rules.cors_origins)
}
