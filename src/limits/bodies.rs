//! Memory for the bodies of requests that are under way on a node.
//!
//! Small bodies have a part of their own: publishers of single events continue while others fill the rest with bodies that they
//! do not finish. Only counts; the HTTP room receives bodies.

use std::sync::Arc;

use super::budget::{Budget, NoRoom, Reservation};

/// Maximum bytes of a small body.
pub const SMALL_BODY: usize = 64 << 10;

/// One part in this many is for small bodies, and one for the beginnings of large bodies that wait for room.
const SMALL_PART: usize = 4;
const WAITING_PART: usize = 8;

/// How many copies of a body are held at a time: the body and its events, later the events and what the store makes of them.
const COPIES: usize = 2;

/// Room for bodies, `limits.bodies`.
#[derive(Debug)]
pub struct Bodies {
    small: Budget,
    waiting: Budget,
    large: Budget,
}

/// The room for one body and its copies. Given back when dropped.
#[derive(Debug)]
pub struct BodyRoom {
    bodies: Arc<Bodies>,
    size: usize,
    held: Option<(BodySize, Reservation)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BodySize {
    Small,
    Large,
}

impl Bodies {
    /// Room of `bytes` for bodies of at most `max_body_bytes` each, one of which always fits.
    pub fn new(bytes: usize, max_body_bytes: usize) -> Self {
        let small = (bytes / SMALL_PART).max(SMALL_BODY * COPIES);
        let waiting = (bytes / WAITING_PART).max(SMALL_BODY * COPIES);
        let large = bytes.saturating_sub(small + waiting).max(max_body_bytes.saturating_mul(COPIES));
        Self { small: Budget::new(small), waiting: Budget::new(waiting), large: Budget::new(large) }
    }

    /// Bytes that are reserved.
    pub fn used(&self) -> usize {
        self.small.used() + self.waiting.used() + self.large.used()
    }

    /// Room for a body of which nothing has arrived yet.
    pub fn begin(self: &Arc<Self>) -> BodyRoom {
        BodyRoom { bodies: self.clone(), size: 0, held: None }
    }
}

impl BodyRoom {
    /// How many bytes of the body there is room for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes room for a small body of `size` bytes in all, if there is some now, which is nearly always so. Returns whether there
    /// was.
    pub fn try_grow_to(&mut self, size: usize) -> bool {
        if size > SMALL_BODY || matches!(self.held, Some((BodySize::Large, _))) {
            return size <= self.size;
        }
        let bytes = size.saturating_mul(COPIES);
        let held = self.held.as_ref().map_or(0, |(_, reservation)| reservation.bytes());
        let Some(added) = self.bodies.small.try_reserve(bytes.saturating_sub(held)) else { return false };
        match &mut self.held {
            Some((_, reservation)) => reservation.add(added),
            None => self.held = Some((BodySize::Small, added)),
        }
        self.size = self.size.max(size);
        true
    }

    /// Makes room for a body of `size` bytes in all, and waits if need be.
    ///
    /// # Errors
    /// When there was none for 2 s, or too many bodies wait already. Then, and when the call is dropped, the body has to be
    /// abandoned: its reservation may be gone.
    pub async fn grow_to(&mut self, size: usize) -> Result<(), NoRoom> {
        if size <= self.size {
            return Ok(());
        }
        let bytes = size.saturating_mul(COPIES);
        let is_large = size > SMALL_BODY || matches!(self.held, Some((BodySize::Large, _)));
        let (kind, added) = match is_large {
            true => (BodySize::Large, self.reserve_large(bytes).await?),
            false => self.reserve_small(bytes).await?,
        };
        self.held = match self.held.take() {
            Some((held, mut reservation)) if held == kind => {
                reservation.add(added);
                Some((kind, reservation))
            }
            // Its reservation of the other kind goes back.
            _ => Some((kind, added)),
        };
        self.size = size;
        Ok(())
    }

    /// Reserves what is missing up to `bytes` in the room for large bodies.
    async fn reserve_large(&mut self, bytes: usize) -> Result<Reservation, NoRoom> {
        let Bodies { waiting, large, .. } = &*self.bodies;
        let missing = missing(&self.held, BodySize::Large, bytes);
        if let Some(reservation) = large.try_reserve(missing) {
            return Ok(reservation);
        }
        // It must not wait in the room for small bodies, or they would have none when many wait.
        let _beginning = match self.held.take_if(|(held, _)| *held == BodySize::Small) {
            Some((_, held)) => Some(waiting.try_reserve(held.bytes()).ok_or(NoRoom)?),
            None => None,
        };
        large.reserve(missing).await
    }

    /// Reserves what is missing up to `bytes` in the room for small bodies, or all of it in the one for large bodies.
    async fn reserve_small(&self, bytes: usize) -> Result<(BodySize, Reservation), NoRoom> {
        let Bodies { small, large, .. } = &*self.bodies;
        let missing = missing(&self.held, BodySize::Small, bytes);
        if let Some(reservation) = small.try_reserve(missing) {
            return Ok((BodySize::Small, reservation));
        }
        // The room for large bodies serves as well, while there is some.
        match large.try_reserve(bytes) {
            Some(reservation) => Ok((BodySize::Large, reservation)),
            None => Ok((BodySize::Small, small.reserve(missing).await?)),
        }
    }

    /// Gives back what a body of `size` bytes does not need.
    pub fn shrink_to(&mut self, size: usize) {
        if let Some((_, reservation)) = &mut self.held {
            reservation.shrink_to(size.saturating_mul(COPIES));
            self.size = self.size.min(size);
        }
    }

    /// Whether other bodies wait for room of the kind that this one holds.
    pub fn is_wanted(&self) -> bool {
        match &self.held {
            Some((BodySize::Small, _)) => self.bodies.small.is_short(),
            Some((BodySize::Large, _)) => self.bodies.large.is_short(),
            None => false,
        }
    }
}

/// What has to be reserved besides what is held of this kind.
fn missing(held: &Option<(BodySize, Reservation)>, kind: BodySize, bytes: usize) -> usize {
    match held {
        Some((held, reservation)) if *held == kind => bytes.saturating_sub(reservation.bytes()),
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[tokio::test]
    async fn small_bodies_have_room_when_large_ones_have_none() {
        let bodies = Arc::new(Bodies::new(8 << 20, 1 << 20));
        // Five MiB of room, two for each.
        let mut large: Vec<_> = (0..20).map(|_| bodies.begin()).collect();
        let grown = futures_util::future::join_all(large.iter_mut().map(async |room| {
            room.grow_to(64 * KIB).await?;
            room.grow_to(1 << 20).await
        }));
        let grown = grown.await.into_iter().filter(Result::is_ok).count();
        assert_eq!((grown, bodies.small.used(), bodies.waiting.used()), (2, 0, 0));
        let mut small: Vec<_> = (0..25).map(|_| bodies.begin()).collect();
        for (n, room) in small.iter_mut().enumerate() {
            // The last ones use what the large ones have left.
            assert_eq!(room.grow_to(64 * KIB).await.is_ok(), n < 24);
        }
        assert_eq!(bodies.used(), 7 << 20);
        drop((large, small));
        assert_eq!(bodies.used(), 0);
    }

    #[tokio::test]
    async fn growing_body_moves_to_the_room_for_large_ones() {
        let bodies = Arc::new(Bodies::new(8 << 20, 1 << 20));
        let mut room = bodies.begin();
        room.grow_to(10 * KIB).await.unwrap();
        assert_eq!((bodies.small.used(), bodies.large.used()), (20 * KIB, 0));
        room.grow_to(100 * KIB).await.unwrap();
        assert_eq!((bodies.small.used(), bodies.large.used(), room.size()), (0, 200 * KIB, 100 * KIB));
        room.grow_to(50 * KIB).await.unwrap();
        room.grow_to(200 * KIB).await.unwrap();
        assert_eq!(bodies.used(), 400 * KIB);
        room.shrink_to(150 * KIB);
        assert_eq!((bodies.used(), room.size()), (300 * KIB, 150 * KIB));
    }

    #[tokio::test]
    async fn largest_body_fits_into_the_smallest_room() {
        let bodies = Arc::new(Bodies::new(0, 4 << 20));
        let mut room = bodies.begin();
        room.grow_to(64 * KIB).await.unwrap();
        room.grow_to(4 << 20).await.unwrap();
        assert!(!room.is_wanted());
        let mut other = bodies.begin();
        let (refused, ()) = tokio::join!(other.grow_to(1 << 20), async {
            tokio::task::yield_now().await;
            assert!(room.is_wanted());
        });
        assert_eq!(refused, Err(NoRoom));
    }
}
