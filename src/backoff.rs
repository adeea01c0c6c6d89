//! How long to wait before a retry: everything that retries uses this.

use std::time::Duration;

/// Delays that double, each drawn from the upper half of its step so that nodes do not retry in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts at `first` and doubles up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, first, max }
    }

    /// For commands and reads: 100 ms doubling to 5 s.
    pub fn for_store() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// For connections to the store: 100 ms doubling to 1 s. More would prolong an outage that is over.
    pub fn for_connections() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(1))
    }

    /// The next delay: 50-100 % of the step.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_limit_and_vary() {
        let mut backoff = Backoff::for_store();
        for step in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let step = Duration::from_millis(step);
            let delay = backoff.next_delay();
            assert!(delay >= step / 2 && delay <= step, "{delay:?} in step {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
