//! Which pipeline the checks use when the user names none: a new one that the token allows. No I/O.
//!
//! An existing pipeline is never chosen, because the checks delete the history at the end.

use crate::auth::{Pattern, Right, Rights, peek};
use crate::event::PipelineId;

/// Where the checks publish and subscribe.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) pipeline: PipelineId,
    /// A channel that the token may read, if it is limited to some.
    pub(super) channel: Option<String>,
}

/// Why the user has to name a pipeline.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "your token allows {0} only; name one of these with --pipeline. The doctor publishes to it and deletes its history"
)]
pub(super) struct NamesOnly(String);

/// Chooses a pipeline, unless one is `given`. Reads the claims of a JSON Web Token without verifying them; what a static key
/// allows only the node knows.
///
/// # Errors
/// When the token names pipelines one by one, so that any of them may be in use.
pub(super) fn choose(given: Option<PipelineId>, token: Option<&str>) -> Result<Choice, NamesOnly> {
    let rights = token.and_then(claimed_rights).unwrap_or_default();
    let pipeline = given.map_or_else(|| new_pipeline(&rights), Ok)?;
    Ok(Choice { pipeline, channel: rights.channels.and_then(|channels| channels.into_iter().next()) })
}

fn claimed_rights(token: &str) -> Option<Rights> {
    let (_, claims) = peek(token)?;
    serde_json::from_value(claims["pipecast"].clone()).ok()
}

fn new_pipeline(rights: &Rights) -> Result<PipelineId, NamesOnly> {
    let name = format!("doctor-{:08x}", rand::random::<u32>());
    let patterns: Vec<String> = rights.publish.iter().chain(&rights.subscribe).map(Pattern::to_string).collect();
    let prefixes = patterns.iter().filter_map(|pattern| pattern.strip_suffix('*'));
    let allowed = |pipeline: &PipelineId| is_allowed(rights, pipeline);
    let mut new = std::iter::once("").chain(prefixes).filter_map(|prefix| format!("{prefix}{name}").parse().ok());
    if let Some(pipeline) = new.find(allowed) {
        return Ok(pipeline);
    }
    let mut names: Vec<&str> = patterns.iter().map(String::as_str).collect();
    names.retain(|name| name.parse().is_ok_and(|pipeline| allowed(&pipeline)));
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        // No pipeline will do. The node's rejection says which right is missing.
        return Ok(name.parse().expect("letters, digits and a hyphen"));
    }
    Err(NamesOnly(format!("`{}`", names.join("`, `"))))
}

/// A right without any pipeline does not count: on a node where that right is open, none is needed.
fn is_allowed(rights: &Rights, pipeline: &PipelineId) -> bool {
    [(Right::Publish, &rights.publish), (Right::Subscribe, &rights.subscribe)]
        .into_iter()
        .all(|(right, patterns)| patterns.is_empty() || rights.allow(right, pipeline))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prefix_for(publish: &[&str], subscribe: &[&str]) -> String {
        let rights: Rights = serde_json::from_value(json!({"publish": publish, "subscribe": subscribe})).unwrap();
        match new_pipeline(&rights) {
            Ok(pipeline) => pipeline.as_str().split_once("doctor-").unwrap().0.to_owned(),
            Err(error) => error.0,
        }
    }

    #[test]
    fn new_pipeline_fits_both_rights() {
        let long = format!("{}*", "x".repeat(125));
        for (publish, subscribe, expected) in [
            (&[][..], &[][..], ""),
            (&["*"], &["*"], ""),
            (&["p_*"], &[], "p_"),
            (&["p_*"], &["*"], "p_"),
            (&["p_*"], &["q", "p_a*"], "p_a"),
            (&["p_a", "p_b*"], &["p_*"], "p_b"),
            (&["p_a"], &["p_*"], "`p_a`"),
            (&["p_a", "p_b"], &["p_a", "p_b"], "`p_a`, `p_b`"),
            (&["p_*"], &["q_*"], ""),
            (&[&long], &[], ""),
        ] {
            assert_eq!(prefix_for(publish, subscribe), expected, "{publish:?} {subscribe:?}");
        }
    }

    #[test]
    fn opaque_key_gives_any_new_pipeline() {
        let choice = choose(None, Some("correct-horse-battery")).unwrap();
        assert!(choice.pipeline.as_str().starts_with("doctor-") && choice.channel.is_none());
    }
}
