//! Pages of histories in Redis: two scripts, and how their answers are read. Knows no connection.

use bytes::Bytes;
use redis::{Script, ScriptInvocation};

use crate::event::EventId;
use crate::sse::frame::History;
use crate::store::Retention;
use crate::store::page::{About, Page, PageBounds, PageStart};

/// The scripts. Their comments describe their arguments and their answers.
pub(super) struct PageScripts {
    page: Script,
    about: Script,
}

impl PageScripts {
    pub(super) fn new() -> Self {
        Self { page: Script::new(include_str!("page.lua")), about: Script::new(include_str!("about.lua")) }
    }

    /// The call that reads a page of a list; [`page_of`] reads its answer.
    pub(super) fn page(
        &self,
        list: &str,
        retention: Retention,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> ScriptInvocation<'_> {
        let mut call = self.page.key(list);
        let from = match start {
            PageStart::Newest { .. } => "newest",
            PageStart::After(_) => "after",
            PageStart::Next(_) => "next",
        };
        call.arg(from).arg(retention.limit).arg(retention.bytes);
        // A bound above the limit means none; this keeps it a number that Lua holds exactly.
        call.arg(bounds.events.min(retention.limit.saturating_add(1))).arg(bounds.bytes);
        match start {
            PageStart::Newest { count, channels } => call.arg(count.min(retention.limit)).arg(channels),
            PageStart::After(id) | PageStart::Next(id) => call.arg(id.ms).arg(id.seq),
        };
        call
    }

    /// The call that reads both ends of a list; [`about_of`] reads its answer.
    pub(super) fn about(&self, list: &str, retention: Retention) -> ScriptInvocation<'_> {
        let mut call = self.about.key(list);
        call.arg(retention.limit);
        call
    }
}

/// Reads a page: the newest entry's id if more follows, then the entries.
pub(super) fn page_of(answer: Vec<Vec<u8>>) -> Page {
    let mut parts = answer.into_iter();
    let rest = parts.next().and_then(|id| std::str::from_utf8(&id).ok()?.parse().ok());
    Page { history: History::from_entries(parts.map(Bytes::from)), rest }
}

/// Reads the first lines of the oldest and of the newest entry.
pub(super) fn about_of(answer: &[Vec<u8>], limit: usize) -> About {
    let id_of = |line: &[u8]| std::str::from_utf8(line).ok()?.trim_end().strip_prefix("id: ")?.parse::<EventId>().ok();
    let is_marker = |line: &[u8]| line.ends_with(b"\n\n");
    let [oldest, newest_line] = answer else { return About::default() };
    // If the newest entry was not written by this broker, the next event starts a new history.
    let Some(newest) = id_of(newest_line) else { return About::default() };
    let events = match id_of(oldest) {
        _ if is_marker(newest_line) => 0,
        // No id is left out, and a marker has the id of the event before the first.
        Some(id) => newest.seq.saturating_sub(id.seq) + u64::from(!is_marker(oldest)),
        None => 1,
    };
    About { newest, events: usize::try_from(events).unwrap_or(limit).min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_from_the_ids_at_both_ends() {
        let about = |oldest: &str, newest: &str| {
            let about = about_of(&[oldest.into(), newest.into()], 100);
            (about.newest.seq, about.events)
        };
        assert_eq!(about("id: 5-1\n", "id: 7-3\n"), (3, 3));
        assert_eq!(about("id: 5-1\n\n", "id: 7-3\n"), (3, 2));
        assert_eq!(about("id: 5-4\n\n", "id: 5-4\n\n"), (4, 0));
        assert_eq!(about("", "id: 7-3\n"), (3, 1));
        assert_eq!(about("id: 5-1\n", ""), (0, 0));
        assert_eq!(about("id: 5-1\n", "id: 7-9007199254740991\n"), (9_007_199_254_740_991, 100));
        assert_eq!(about_of(&[], 100), About::default());
    }
}
