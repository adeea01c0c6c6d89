//! Room for the bodies of requests: what all that are under way on a node take together.
//!
//! Small bodies have a part of their own: publishers of single events go on while others fill the rest with what they
//! do not finish. It counts; receiving is the server's business.

use std::sync::Arc;

use super::budget::{Budget, NoRoom, Reservation};

/// Up to here a body is small, in bytes.
pub const SMALL_BODY: usize = 64 << 10;

/// The small ones' part of all room, and the part of the beginnings of large ones that wait for theirs.
const SMALL_PART: usize = 4;
const WAITING_PART: usize = 8;

/// What is held of a body: it and the events made of it, and after that the events and what the store makes of them.
const COPIES: usize = 2;

/// Room for bodies, `limits.bodies`.
#[derive(Debug)]
pub struct Bodies {
    small: Budget,
    waiting: Budget,
    large: Budget,
}

/// The room of one body, and of what it becomes. Given back when dropped.
#[derive(Debug)]
pub struct BodyRoom {
    bodies: Arc<Bodies>,
    size: usize,
    held: Option<(Size, Reservation)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Size {
    Small,
    Large,
}

impl Bodies {
    /// Room of so many bytes for bodies of at most `most_bytes` each, one of which always fits.
    pub fn new(bytes: usize, most_bytes: usize) -> Self {
        let small = (bytes / SMALL_PART).max(SMALL_BODY * COPIES);
        let waiting = (bytes / WAITING_PART).max(SMALL_BODY * COPIES);
        let large = bytes.saturating_sub(small + waiting).max(most_bytes.saturating_mul(COPIES));
        Self { small: Budget::new(small), waiting: Budget::new(waiting), large: Budget::new(large) }
    }

    /// Bytes that are held.
    pub fn used(&self) -> usize {
        self.small.used() + self.waiting.used() + self.large.used()
    }

    /// Room for a body of which nothing has come yet.
    pub fn begin(self: &Arc<Self>) -> BodyRoom {
        BodyRoom { bodies: self.clone(), size: 0, held: None }
    }
}

impl BodyRoom {
    /// Bytes of the body that there is room for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes room for a body of so many bytes in all, if there is some for a small one now. That is nearly always so.
    pub fn try_grow_to(&mut self, size: usize) -> bool {
        if size > SMALL_BODY || matches!(self.held, Some((Size::Large, _))) {
            return size <= self.size;
        }
        let bytes = size.saturating_mul(COPIES);
        let held = self.held.as_ref().map_or(0, |(_, reservation)| reservation.bytes());
        let Some(added) = self.bodies.small.try_reserve(bytes.saturating_sub(held)) else { return false };
        match &mut self.held {
            Some((_, reservation)) => reservation.add(added),
            None => self.held = Some((Size::Small, added)),
        }
        self.size = self.size.max(size);
        true
    }

    /// Makes room for a body of so many bytes in all, waiting if need be.
    ///
    /// # Errors
    /// When there was none for 2 s, or too many wait already. The body is to be given up then, and when the call is
    /// dropped: what was reserved may be gone.
    pub async fn grow_to(&mut self, size: usize) -> Result<(), NoRoom> {
        if size <= self.size {
            return Ok(());
        }
        let Bodies { small, waiting, large } = &*self.bodies;
        let bytes = size.saturating_mul(COPIES);
        let kind = match &self.held {
            Some((Size::Large, _)) => Size::Large,
            _ if size > SMALL_BODY => Size::Large,
            _ => Size::Small,
        };
        let more = match &self.held {
            Some((held, reservation)) if *held == kind => bytes.saturating_sub(reservation.bytes()),
            _ => bytes,
        };
        let (kind, added) = match kind {
            Size::Large => (
                Size::Large,
                match large.try_reserve(more) {
                    Some(reservation) => reservation,
                    // Not in the small ones' room: they would have none when many wait.
                    None => {
                        let _beginning = match self.held.take_if(|(held, _)| *held == Size::Small) {
                            Some((_, held)) => Some(waiting.try_reserve(held.bytes()).ok_or(NoRoom)?),
                            None => None,
                        };
                        large.reserve(more).await?
                    }
                },
            ),
            // The large ones' room will do too, while there is some.
            Size::Small => match small.try_reserve(more) {
                Some(reservation) => (Size::Small, reservation),
                None => match large.try_reserve(bytes) {
                    Some(reservation) => (Size::Large, reservation),
                    None => (Size::Small, small.reserve(more).await?),
                },
            },
        };
        self.held = match self.held.take() {
            Some((held, mut reservation)) if held == kind => {
                reservation.add(added);
                Some((kind, reservation))
            }
            // What it had of the other's goes back.
            _ => Some((kind, added)),
        };
        self.size = size;
        Ok(())
    }

    /// Gives back what is more than a body of so many bytes takes.
    pub fn shrink_to(&mut self, size: usize) {
        if let Some((_, reservation)) = &mut self.held {
            reservation.shrink_to(size.saturating_mul(COPIES));
            self.size = self.size.min(size);
        }
    }

    /// Whether others wait for room of the kind that this body holds.
    pub fn is_wanted(&self) -> bool {
        match &self.held {
            Some((Size::Small, _)) => self.bodies.small.is_short(),
            Some((Size::Large, _)) => self.bodies.large.is_short(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[tokio::test]
    async fn small_bodies_have_room_when_the_large_have_none() {
        let bodies = Arc::new(Bodies::new(8 << 20, 1 << 20));
        // Five MiB, of which each takes two.
        let mut large: Vec<_> = (0..20).map(|_| bodies.begin()).collect();
        let grown = futures_util::future::join_all(large.iter_mut().map(async |room| {
            room.grow_to(64 * KIB).await?;
            room.grow_to(1 << 20).await
        }));
        let grown = grown.await.into_iter().filter(Result::is_ok).count();
        assert_eq!((grown, bodies.small.used(), bodies.waiting.used()), (2, 0, 0));
        let mut small: Vec<_> = (0..25).map(|_| bodies.begin()).collect();
        for (n, room) in small.iter_mut().enumerate() {
            // The last ones in what the large have left.
            assert_eq!(room.grow_to(64 * KIB).await.is_ok(), n < 24);
        }
        assert_eq!(bodies.used(), 7 << 20);
        drop((large, small));
        assert_eq!(bodies.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_grows_moves_to_the_large_ones() {
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
    async fn the_largest_body_fits_into_the_least_room() {
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
