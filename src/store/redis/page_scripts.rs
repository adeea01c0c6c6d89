//! Pages of histories in Redis: two scripts, and how their answers are read. Knows no connection.

use bytes::Bytes;
use redis::{Script, ScriptInvocation};

use super::millis::millis;
use crate::event::EventId;
use crate::sse::frame::{History, LossRecord};
use crate::store::Retention;
use crate::store::page::{About, Page, PageBounds, PageStart};

/// The scripts. Their comments describe their arguments and their answers.
pub(super) struct PageScripts {
    page: Script,
    about: Script,
}

impl PageScripts {
    pub(super) fn new() -> Self {
        Self {
            page: Script::new(concat!(include_str!("began.lua"), include_str!("page.lua"))),
            about: Script::new(include_str!("about.lua")),
        }
    }

    /// The call that reads a page of a list; [`page_of`] reads its answer.
    pub(super) fn page(
        &self,
        list: &str,
        began: &str,
        retention: Retention,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> ScriptInvocation<'_> {
        let mut call = self.page.key(list);
        call.key(began);
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

/// Reads a page: the newest entry's id if more follows, when the set of data began, the time, then the entries.
pub(super) fn page_of(answer: Vec<Vec<u8>>, retention: Retention) -> Page {
    let mut parts = answer.into_iter();
    let mut text = || parts.next().and_then(|part| String::from_utf8(part).ok()).unwrap_or_default();
    let rest = text().parse().ok();
    // Later than any moment: what cannot be read proves nothing.
    let since_ms = text().parse().unwrap_or(u64::MAX);
    let now_ms = text().parse().unwrap_or_default();
    let loss = LossRecord { since_ms, now_ms, ttl_ms: millis(retention.ttl) };
    Page { history: History::from_entries(parts.map(Bytes::from), loss), rest }
}

/// Reads the ids of the oldest and of the newest event, or the last id of a history that was deleted.
pub(super) fn about_of(answer: &[Vec<u8>], limit: usize) -> About {
    let id_of = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<EventId>().ok();
    let (oldest, newest) = match answer {
        [] => return About::default(),
        [deleted] => return About { newest: id_of(deleted).unwrap_or_default(), events: 0 },
        [oldest, newest, ..] => (id_of(oldest), id_of(newest)),
    };
    // If the newest entry was not written by this broker, the next event starts a new history.
    let Some(newest) = newest else { return About::default() };
    // No id is left out.
    let events = oldest.map_or(1, |oldest| newest.seq.saturating_sub(oldest.seq) + 1);
    About { newest, events: usize::try_from(events).unwrap_or(limit).min(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_from_the_ids_at_both_ends() {
        let about = |ends: &[&str]| {
            let ends: Vec<_> = ends.iter().map(|end| end.as_bytes().to_vec()).collect();
            let about = about_of(&ends, 100);
            (about.newest.seq, about.events)
        };
        assert_eq!(about(&["5-1", "7-3"]), (3, 3));
        assert_eq!(about(&["5-4"]), (4, 0));
        assert_eq!(about(&["", "7-3"]), (3, 1));
        assert_eq!(about(&["5-1", ""]), (0, 0));
        assert_eq!(about(&["5-1", "7-9007199254740991"]), (9_007_199_254_740_991, 100));
        assert_eq!(about(&[]), (0, 0));
    }
}
