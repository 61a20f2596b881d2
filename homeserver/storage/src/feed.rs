//! Waking readers by topic.
//!
//! A registry knows which subscriptions wait for which topic. Notifying a topic costs what its subscribers cost and nothing for
//! all others; a waiting long poll costs one entry per topic and a stored waker.

use std::{
    collections::HashMap,
    future::poll_fn,
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
    task::{Poll, Waker},
};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{Position, Topic};

/// Topics whose last position is known. With more, all are forgotten, and count as touched at the latest position.
const KNOWN_TOPICS: usize = 32_768;

/// Who waits for what.
pub(crate) struct Feed {
    registry: Mutex<Registry>,
}

type ByTopic<T> = HashMap<Topic, T, BuildHasherDefault<DefaultHasher>>;

#[derive(Default)]
struct Registry {
    topics: ByTopic<Vec<Place>>,
    /// The last position that touched each topic, for those touched after `floor`.
    last: ByTopic<Position>,
    /// What is not in `last` was touched here at the latest.
    floor: Position,
    /// Subscriptions by their number.
    subscribers: Vec<Option<Subscriber>>,
    free: Vec<u32>,
}

/// An entry in a topic's list: the subscription, and which of its topics this is.
#[derive(Clone, Copy)]
struct Place {
    subscriber: u32,
    nth: u32,
}

struct Subscriber {
    waiter: Arc<Waiter>,
    /// Its topics, each with its index in the topic's list, so that leaving costs the same in a long list as in a short one.
    topics: SmallVec<[(Topic, u32); 2]>,
}

#[derive(Default)]
struct Waiter {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    pending: bool,
    position: Position,
    waker: Option<Waker>,
}

impl Feed {
    /// The feed of a log that is at this position.
    pub(crate) fn starting_at(position: Position) -> Self {
        Self { registry: Mutex::new(Registry { floor: position, ..Registry::default() }) }
    }

    /// Registers a subscription.
    pub(crate) fn subscribe(self: &Arc<Self>, topics: &[Topic]) -> Subscription {
        let waiter = Arc::new(Waiter::default());
        let mut topics: SmallVec<[Topic; 2]> = topics.into();
        topics.sort_unstable();
        topics.dedup();
        let mut registry = self.registry.lock();
        let number = registry.free.pop().unwrap_or_else(|| {
            registry.subscribers.push(None);
            u32::try_from(registry.subscribers.len() - 1).expect("fewer subscriptions than would fit into memory")
        });
        let mut places: SmallVec<[(Topic, u32); 2]> = SmallVec::with_capacity(topics.len());
        let mut touched = 0;
        for (nth, topic) in (0..).zip(&topics) {
            let list = registry.topics.entry(*topic).or_default();
            places
                .push((*topic, u32::try_from(list.len()).expect("as many entries as subscriptions' topics in memory")));
            list.push(Place { subscriber: number, nth });
            touched = touched.max(registry.last.get(topic).copied().unwrap_or(registry.floor));
        }
        registry.subscribers[number as usize] = Some(Subscriber { waiter: waiter.clone(), topics: places });
        drop(registry);
        Subscription { feed: self.clone(), number, waiter, touched }
    }

    /// Remembers what batches touch. To be called before readers can see them: whoever reads a snapshot then knows at least what it holds.
    pub(crate) fn touch(&self, touched: impl Iterator<Item = (Topic, Position)>) {
        let mut registry = self.registry.lock();
        for (topic, position) in touched {
            if registry.last.len() >= KNOWN_TOPICS {
                registry.floor = registry.last.values().copied().fold(registry.floor, Position::max);
                registry.last.clear();
            }
            let last = registry.last.entry(topic).or_default();
            *last = position.max(*last);
        }
    }

    /// A position after which the topic has not been touched in what readers can see.
    pub(crate) fn untouched_since(&self, topic: &Topic) -> Position {
        let registry = self.registry.lock();
        registry.last.get(topic).copied().unwrap_or(registry.floor)
    }

    /// Wakes the subscribers of these topics.
    pub(crate) fn notify(&self, touched: impl Iterator<Item = (Topic, Position)>) {
        let mut wake: SmallVec<[(Arc<Waiter>, Position); 16]> = SmallVec::new();
        {
            let registry = self.registry.lock();
            for (topic, position) in touched {
                for place in registry.topics.get(&topic).into_iter().flatten() {
                    if let Some(subscriber) = &registry.subscribers[place.subscriber as usize] {
                        wake.push((subscriber.waiter.clone(), position));
                    }
                }
            }
        }
        for (waiter, position) in wake {
            waiter.wake(position);
        }
    }

    fn unsubscribe(&self, number: u32) {
        let mut registry = self.registry.lock();
        let registry = &mut *registry;
        let Some(subscriber) = registry.subscribers[number as usize].take() else { return };
        registry.free.push(number);
        for (topic, index) in subscriber.topics {
            let Some(list) = registry.topics.get_mut(&topic) else { continue };
            list.swap_remove(index as usize);
            if let Some(moved) = list.get(index as usize)
                && let Some(other) = &mut registry.subscribers[moved.subscriber as usize]
            {
                other.topics[moved.nth as usize].1 = index;
            }
            if list.is_empty() {
                registry.topics.remove(&topic);
            }
        }
    }
}

impl Waiter {
    fn wake(&self, position: Position) {
        let waker = {
            let mut state = self.state.lock();
            state.pending = true;
            state.position = state.position.max(position);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Waits for changes to its topics. Subscribe first and take a snapshot then: what the snapshot does not hold will wake.
pub struct Subscription {
    feed: Arc<Feed>,
    number: u32,
    waiter: Arc<Waiter>,
    touched: Position,
}

impl Subscription {
    /// A position after which none of the topics had been touched when this subscription was made: what came later wakes it.
    pub fn untouched_since(&self) -> Position {
        self.touched
    }

    /// Waits until a batch with one of the topics has been committed (or a volatile notification has been made) since the last
    /// call, or since subscribing. Gives the latest position of those; a snapshot taken now holds it. A wake can come for what a
    /// snapshot taken before already holds.
    pub async fn changed(&mut self) -> Position {
        poll_fn(|context| {
            let mut state = self.waiter.state.lock();
            if std::mem::take(&mut state.pending) {
                state.waker = None;
                return Poll::Ready(state.position);
            }
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                state.waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Whether [`Subscription::changed`] would answer at once.
    pub fn has_changed(&self) -> bool {
        self.waiter.state.lock().pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.unsubscribe(self.number);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("has_changed", &self.has_changed()).finish_non_exhaustive()
    }
}

/// Wakes subscribers about what is not in the log: typing, presence.
#[derive(Clone)]
pub struct VolatileFeed {
    pub(crate) store: crate::Store,
}

impl VolatileFeed {
    /// Wakes the subscribers of the topic; nothing is written.
    pub fn notify(&self, topic: Topic) {
        self.store.wake(std::iter::once(topic));
    }
}
