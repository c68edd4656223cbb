//! How many requests may be under way at once: in all, and at an app that can take only so many. Beyond that a few wait,
//! not for long, in the order they came, and the rest are told to come back.
//!
//! A request is under way until the head of its answer is known. That is when the work is done that the limit is for,
//! and so streams (WebSocket, server-sent events, long downloads) do not fill the room for hours.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How large a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomSettings {
    /// How many requests are in it at most.
    pub most: usize,
    /// How many more may wait for a place.
    pub most_waiting: usize,
    /// How long one waits at most.
    pub patience: Duration,
}

/// A room. Below its limit, entering and leaving it are an atomic operation each, and no lock.
#[derive(Debug)]
pub struct Room {
    settings: RoomSettings,
    /// Whoever comes later does not overtake: a place that is free goes to the first in the queue.
    places: Semaphore,
    waiting: AtomicUsize,
}

/// The rooms that all workers share.
#[derive(Debug)]
pub struct Rooms {
    /// For all requests.
    pub all: Room,
    /// For each app, in their order, if it has a limit of its own.
    pub apps: Vec<Option<Room>>,
}

/// A place in a room, until this is dropped.
#[derive(Debug)]
pub struct Stay<'r>(#[expect(dead_code, reason = "held, not used")] SemaphorePermit<'r>);

impl Rooms {
    /// The room of the app in this place, if it has one.
    pub fn of_app(&self, index: usize) -> Option<&Room> {
        self.apps.get(index)?.as_ref()
    }
}

impl Room {
    /// An empty room.
    pub fn new(settings: RoomSettings) -> Self {
        let places = Semaphore::new(settings.most.min(Semaphore::MAX_PERMITS));
        Self {
            settings,
            places,
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place, at once or after a while. `None`: there was none in time, or too many wait already.
    pub async fn enter(&self) -> Option<Stay<'_>> {
        match self.places.try_acquire() {
            Ok(place) => Some(Stay(place)),
            // On the heap, lest every request carry it.
            Err(_) => Box::pin(self.queue()).await,
        }
    }

    /// How many are in it.
    pub fn inside(&self) -> usize {
        self.settings.most.min(Semaphore::MAX_PERMITS) - self.places.available_permits()
    }

    /// How many wait for it.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    async fn queue(&self) -> Option<Stay<'_>> {
        let _waiting = Waiting(self);
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.settings.most_waiting {
            return None;
        }
        let place = timeout(self.settings.patience, self.places.acquire()).await;
        place.ok()?.ok().map(Stay)
    }
}

/// Somebody in the queue.
struct Waiting<'r>(&'r Room);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::yield_now;

    use super::*;

    fn room(most: usize, most_waiting: usize, patience: Duration) -> Room {
        Room::new(RoomSettings {
            most,
            most_waiting,
            patience,
        })
    }

    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn the_first_who_waits_enters_first() {
        let room = Arc::new(room(1, 2, FOR_EVER));
        let stay = room.enter().await.unwrap();
        let mut queue = Vec::new();
        for _ in 0..2 {
            let room = Arc::clone(&room);
            queue.push(tokio::spawn(async move { room.enter().await.map(drop) }));
            yield_now().await;
        }
        assert_eq!((room.inside(), room.waiting()), (1, 2));
        assert!(
            room.enter().await.is_none(),
            "the queue is full, so nobody waits"
        );
        drop(stay);
        for queued in queue {
            assert_eq!(queued.await.unwrap(), Some(()));
        }
        assert_eq!((room.inside(), room.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn who_waited_for_too_long_or_left_takes_no_place() {
        let room = Arc::new(room(1, 8, Duration::from_millis(20)));
        let stay = room.enter().await.unwrap();
        let gone = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.enter().await.map(drop) }
        });
        yield_now().await;
        assert!(room.enter().await.is_none(), "after its patience");
        gone.abort();
        let _aborted = gone.await;
        assert_eq!((room.inside(), room.waiting()), (1, 0));
        drop(stay);
        assert!(room.enter().await.is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_more_than_the_limit_are_inside_and_everybody_gets_in() {
        let room = Arc::new(room(3, 1000, FOR_EVER));
        let seen = Arc::new(AtomicUsize::new(0));
        let crowd: Vec<_> = (0..200)
            .map(|_| {
                let (room, seen) = (Arc::clone(&room), Arc::clone(&seen));
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let stay = room.enter().await.expect("a place");
                        let inside = seen.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(inside <= 3, "{inside}");
                        yield_now().await;
                        seen.fetch_sub(1, Ordering::SeqCst);
                        drop(stay);
                    }
                })
            })
            .collect();
        for one in crowd {
            one.await.unwrap();
        }
        assert_eq!((room.inside(), room.waiting()), (0, 0));
    }
}
