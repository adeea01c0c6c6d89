//! Budgets: bytes of memory that all requests of a kind share, so that together they cost no more than a node has.
//!
//! Counts bytes and makes requests wait for them; holds no memory itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a request waits for room. A publish is answered within this time plus the store's timeout.
const WAIT: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };

/// A number of bytes that can be reserved.
#[derive(Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: usize,
    waiting: AtomicUsize,
}

/// Bytes of a budget. Given back when dropped.
#[derive(Debug)]
pub struct Reservation(OwnedSemaphorePermit);

/// No room became free within the time to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes)), bytes, waiting: AtomicUsize::new(0) }
    }

    /// Bytes that are reserved.
    pub fn used(&self) -> usize {
        self.bytes.saturating_sub(self.free.available_permits())
    }

    /// Whether a request waits for room.
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Reserves this many bytes, if they are free now. A request for more than the whole budget reserves all of it.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.free.clone().try_acquire_many_owned(self.permits(bytes)).ok().map(Reservation)
    }

    /// The same, but waits if need be; first come, first served. Cancel safe.
    ///
    /// # Errors
    /// When there was no room for 2 s.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, NoRoom> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let _waiting = WaitGuard::begin(&self.waiting);
        match timeout(WAIT, self.free.clone().acquire_many_owned(self.permits(bytes))).await {
            Ok(Ok(permit)) => Ok(Reservation(permit)),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(NoRoom),
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX)
    }
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        self.0.num_permits()
    }

    /// Takes over another reservation of the same budget.
    pub fn add(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    /// Gives back all but this many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        drop(self.0.split(self.bytes().saturating_sub(bytes)));
    }
}

/// Counts one waiting request until it is dropped.
struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reservation_without_room_waits_for_a_while() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(70).await.unwrap();
        assert_eq!((budget.used(), budget.try_reserve(31).is_none()), (70, true));
        assert_eq!(budget.reserve(31).await.unwrap_err(), NoRoom);
        let (second, ()) = tokio::join!(budget.reserve(31), async {
            tokio::task::yield_now().await;
            assert!(budget.is_short());
            first.shrink_to(60);
        });
        assert_eq!((budget.used(), budget.is_short()), (91, false));
        drop((first, second));
        // More than the whole budget is the whole budget.
        assert_eq!(budget.reserve(1000).await.unwrap().bytes(), 100);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn reservations_of_one_budget_add_up() {
        let budget = Budget::new(100);
        let mut all = budget.try_reserve(0).unwrap();
        all.add(budget.try_reserve(40).unwrap());
        all.shrink_to(50);
        assert_eq!((all.bytes(), budget.used()), (40, 40));
        all.shrink_to(0);
        assert_eq!(budget.used(), 0);
    }
}
