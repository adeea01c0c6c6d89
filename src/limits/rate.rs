//! A rate as written in the settings, and the bucket that it fills.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// A count per unit of time: `100/s`, `600/m`, `1000/h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Second,
    Minute,
    Hour,
}

impl Unit {
    fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

/// A text that is not a rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write a whole number from 1 to {max} and a unit, such as 100/s, 600/m or 1000/h", max = Rate::MAX)]
pub struct InvalidRate;

impl Rate {
    /// The largest count.
    pub const MAX: u32 = 1_000_000;

    /// One of `parts` equal parts of it, but at least one per unit.
    pub fn part(self, parts: NonZeroU32) -> Self {
        let count = NonZeroU32::new(self.count.get() / parts).unwrap_or(NonZeroU32::MIN);
        Self { count, ..self }
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = match unit.trim() {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(InvalidRate),
        };
        let count: NonZeroU32 = count.trim().parse().map_err(|_| InvalidRate)?;
        if count.get() > Self::MAX { Err(InvalidRate) } else { Ok(Self { count, unit }) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.letter())
    }
}

/// What a rate's bucket holds and how fast it fills, for the generic cell rate algorithm: a bucket's only state is the moment
/// at which it will be full, in nanoseconds since some start.
///
/// A bucket holds one unit's worth of tokens. A batch that takes more waits for a full bucket and leaves a debt, so the long-run
/// average never exceeds the rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bucket {
    /// Nanoseconds for one token to arrive.
    period: u64,
    /// Nanoseconds for an empty bucket to fill.
    capacity: u64,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self::of_several(rate, 1)
    }

    /// The bucket of a group that may have this rate `times` over.
    pub(super) fn of_several(rate: Rate, times: u32) -> Self {
        let unit = rate.unit.seconds() * 1_000_000_000;
        let count = u64::from(rate.count.get()) * u64::from(times);
        Self { period: unit / count, capacity: unit / count * count }
    }

    /// How long until `count` tokens can be taken; `None` when they can be taken now.
    pub(super) fn wait(self, full_at: u64, now: u64, count: u64) -> Option<Duration> {
        let needed = self.cost(count).min(self.capacity);
        let may_at = full_at.saturating_add(needed).saturating_sub(self.capacity);
        (may_at > now).then(|| Duration::from_nanos(may_at - now))
    }

    /// When the bucket will be full after `count` tokens are taken.
    pub(super) fn take(self, full_at: u64, now: u64, count: u64) -> u64 {
        full_at.max(now).saturating_add(self.cost(count))
    }

    fn cost(self, count: u64) -> u64 {
        self.period.saturating_mul(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_a_count_and_a_unit() {
        for text in ["1/s", "100/s", "600/m", "1000000/h"] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert_eq!(rate(" 5 / s ").to_string(), "5/s");
        for wrong in ["", "/", "5", "0/s", "-1/s", "1.5/s", "5/d", "5/s/s", "1000001/s", "s/5", "off"] {
            assert_eq!(wrong.parse::<Rate>(), Err(InvalidRate), "{wrong}");
        }
    }

    #[test]
    fn batch_above_the_burst_waits_and_leaves_a_debt() {
        const SECOND: u64 = 1_000_000_000;
        let bucket = Bucket::new(rate("10/s"));
        let now = 100 * SECOND;
        assert_eq!(bucket.wait(0, now, 1000), None);
        let full_at = bucket.take(0, now, 1000);
        // 990 more than it held: the next token is available after 99.1 s.
        assert_eq!(bucket.wait(full_at, now, 1), Some(Duration::from_millis(99_100)));
        assert_eq!(bucket.wait(full_at, now + 99 * SECOND + SECOND / 10, 1), None);
        assert_eq!(bucket.wait(full_at, now + 99 * SECOND, 1000), Some(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_or_an_error(text in ".*") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            }
        }

        #[test]
        fn rate_is_never_exceeded_and_the_reported_wait_suffices(
            count in 1u32..1000,
            steps in proptest::collection::vec((0u64..3_000_000_000, 1u64..2000), 1..100),
        ) {
            let bucket = Bucket::new(rate(&format!("{count}/s")));
            let (mut now, mut full_at, mut taken, mut largest) = (0, 0, 0, 0);
            for (pause, wanted) in steps {
                now += pause;
                if let Some(wait) = bucket.wait(full_at, now, wanted) {
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert_eq!(bucket.wait(full_at, now, wanted), None);
                }
                full_at = bucket.take(full_at, now, wanted);
                taken += wanted;
                largest = largest.max(wanted);
                let earned = now / bucket.period + 1;
                prop_assert!(taken <= u64::from(count) + earned + largest);
            }
        }
    }
}
