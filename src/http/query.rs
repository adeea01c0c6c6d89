//! Query parameters of streams and histories.

use std::num::NonZeroU8;
use std::time::Duration;

use url::form_urlencoded;

use super::error::RequestError;
use crate::auth::{ReadGrant, Refused};
use crate::event::{ResumePoint, check_channel};
use crate::stream::wanted::Channels;

/// The names under which a query carries the resume point: `EventSource` cannot set a header, and neither can some polyfills.
pub(super) const LAST_EVENT_ID_QUERY: [&str; 3] = ["last_event_id", "lastEventId", "Last-Event-ID"];

/// Longest `keepalive=`, in seconds.
const MAX_KEEPALIVE: u8 = 60;

/// Maximum channels in one request.
const MAX_CHANNELS: usize = 100;

/// The query of a stream, checked.
pub(super) struct Query {
    pub(super) channels: Vec<String>,
    pub(super) replay: Option<usize>,
    pub(super) resume: Option<ResumePoint>,
    /// Seconds.
    pub(super) keepalive: Option<NonZeroU8>,
}

impl Query {
    /// Parses the query of a stream. Unknown names are ignored: a proxy may add some, or a page that bypasses a cache.
    ///
    /// # Errors
    /// [`RequestError::Query`] with the first value that is not valid.
    pub(super) fn parse(
        query: Option<&str>,
        most_replay: usize,
        least_keepalive: Duration,
    ) -> Result<Self, RequestError> {
        let mut channels = Vec::new();
        let (mut replay, mut resume, mut keepalive) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "channel" => channels.push(channel(&value)?),
                "replay" => replay = Some(count("replay", &value, most_replay)?),
                "keepalive" => keepalive = Some(seconds(&value, least_keepalive)?),
                // The last one counts: polyfills append theirs to what the page wrote.
                name if LAST_EVENT_ID_QUERY.contains(&name) => resume = ResumePoint::parse(&value).or(resume),
                _ => {}
            }
        }
        check_count(&channels)?;
        Ok(Self { channels, replay, resume, keepalive })
    }
}

/// Parses a `channel=`.
pub(super) fn channel(name: &str) -> Result<String, RequestError> {
    check_channel(name).map_err(|problem| RequestError::Query(format!("channel=: {problem}")))?;
    Ok(name.to_owned())
}

/// Rejects more channels than one request may name.
pub(super) fn check_count(channels: &[String]) -> Result<(), RequestError> {
    if channels.len() <= MAX_CHANNELS {
        return Ok(());
    }
    Err(RequestError::Query(format!(
        "a request may name at most {MAX_CHANNELS} channels; leave channel= out to get all"
    )))
}

/// The channels that a client asked for; if it named none, all that it may read.
///
/// # Errors
/// [`Refused::Channel`] if it may not read one of them.
pub(super) fn readable(grant: &ReadGrant, asked: Vec<String>) -> Result<Channels, Refused> {
    match grant.channels() {
        None => Ok(Channels::only(asked)),
        Some(limit) if asked.is_empty() => Ok(Channels::limited(limit.to_vec())),
        Some(limit) if asked.iter().all(|channel| limit.contains(channel)) => Ok(Channels::limited(asked)),
        Some(_) => Err(Refused::Channel),
    }
}

/// Parses a number of events: 0 to 100, or to `history.limit` if that is more.
pub(super) fn count(name: &str, text: &str, limit: usize) -> Result<usize, RequestError> {
    let most = limit.max(100);
    let count =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    count
        .filter(|count| *count <= most)
        .ok_or_else(|| RequestError::Query(format!("{name}= must be a number from 0 to {most}")))
}

/// Parses a `keepalive=`: whole seconds, with or without an `s`.
fn seconds(text: &str, least: Duration) -> Result<NonZeroU8, RequestError> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds: Option<NonZeroU8> = seconds.and_then(|number| number.parse().ok());
    seconds
        .filter(|seconds| seconds.get() <= MAX_KEEPALIVE && Duration::from_secs(seconds.get().into()) >= least)
        .ok_or_else(|| {
            let least = humantime::format_duration(least);
            RequestError::Query(format!("keepalive= must be {least} to {MAX_KEEPALIVE}s, in whole seconds"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::sse::frame::Frame;
    use proptest::prelude::*;

    const MOST: usize = 500;
    const LEAST: Duration = Duration::from_secs(5);

    fn passes(query: &Query, channel: &str) -> bool {
        let body = format!("event: {channel}\ndata: 1\n\n");
        Channels::only(query.channels.clone()).pass(&Frame::new(EventId { ms: 1, seq: 1 }, body.as_bytes()).unwrap())
    }

    fn encoded(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn parameter() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            6 => prop::sample::select(vec!["channel", "replay", "keepalive", "last_event_id", "lastEventId", "Last-Event-ID", "x"])
                .prop_map(str::to_owned),
            1 => "[a-z%&=+]{0,6}",
        ];
        let value =
            prop_oneof!["[0-9-]{0,20}", "[a-z%0-9A-F+;&=]{0,20}", "pipecast\\.[a-z]", "%0[aAdD0]", any::<String>()];
        (name, value).prop_map(|(name, value)| format!("{name}={value}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_queries_are_rejected_or_within_bounds(parameters in prop::collection::vec(parameter(), 0..8)) {
            if let Ok(query) = Query::parse(Some(&parameters.join("&")), MOST, LEAST) {
                prop_assert!(query.replay.is_none_or(|count| count <= MOST));
                prop_assert!(query.keepalive.is_none_or(|seconds| (5..=60).contains(&seconds.get())));
                if let Some(ResumePoint::Malformed(text)) = query.resume {
                    prop_assert!(text.len() <= ResumePoint::MAX_BYTES);
                }
            }
        }

        #[test]
        fn filters_pass_exactly_their_channels(channels in prop::collection::vec("[^\r\n\0]{1,20}", 0..4), other in "[^\r\n\0]{1,20}") {
            prop_assume!(channels.iter().chain([&other]).all(|channel| check_channel(channel).is_ok()));
            let pairs: Vec<_> = channels.iter().map(|channel| ("channel", channel.as_str())).collect();
            let query = Query::parse(Some(&encoded(&pairs)), MOST, LEAST).ok().unwrap();
            prop_assert!(channels.iter().all(|channel| passes(&query, channel)));
            prop_assert_eq!(passes(&query, &other), channels.is_empty() || channels.contains(&other));
        }

        #[test]
        fn last_resume_point_of_a_query_counts(points in prop::collection::vec("[0-9]{1,3}-[0-9]{1,3}|[a-z\r\n]{0,9}", 0..4)) {
            let pairs: Vec<_> = points.iter().zip(LAST_EVENT_ID_QUERY.iter().cycle()).map(|(point, name)| (*name, point.as_str())).collect();
            let query = Query::parse(Some(&encoded(&pairs)), MOST, LEAST).ok().unwrap();
            prop_assert_eq!(query.resume, points.iter().rev().find_map(|point| ResumePoint::parse(point)));
        }
    }
}
