//! One thread, virtual time, and the next task drawn from the seed.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use rand::{RngExt, SeedableRng};
use sha2::{Digest as _, Sha256};

use super::{network::NetworkState, trace::Trace};
use crate::Random;

/// After how many steps a run is taken to be one that never ends.
const DEFAULT_STEP_LIMIT: u64 = 10_000_000;

/// The task that [`Core::run`] is called with.
const MAIN: u64 = 0;

/// Why a run did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    /// A task panicked.
    #[error("seed {seed}: the task `{task}` panicked: {message}")]
    Panicked {
        /// The simulation's seed.
        seed: u64,
        /// The task's name.
        task: &'static str,
        /// What it said.
        message: String,
    },
    /// Every task waits, and no timer will ever wake one.
    #[error("seed {seed}: nothing can happen any more; waiting: {}", .waiting.join(", "))]
    Stalled {
        /// The simulation's seed.
        seed: u64,
        /// The names of the tasks that wait, each with its machine.
        waiting: Vec<String>,
    },
    /// It took too many steps.
    #[error("seed {seed}: not at an end after {steps} steps")]
    Endless {
        /// The simulation's seed.
        seed: u64,
        /// How many steps were allowed.
        steps: u64,
    },
}

/// Everything that the machines of a simulation share.
pub(crate) struct Core {
    pub(crate) seed: u64,
    state: Mutex<State>,
}

pub(crate) struct State {
    /// Time since the start.
    pub(crate) now: Duration,
    pub(crate) step_limit: u64,
    pub(crate) trace: Trace,
    pub(crate) hosts: BTreeMap<String, HostState>,
    pub(crate) network: NetworkState,
    steps: u64,
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
    ready: Vec<u64>,
    /// By deadline, and then in the order in which they were set.
    timers: BTreeMap<TimerKey, Waker>,
    order: Random,
    panic: Option<(&'static str, String)>,
}

/// What belongs to one machine.
pub(crate) struct HostState {
    /// Counts crashes: what was started before the last one has no effect any more.
    pub(crate) life: u64,
    pub(crate) skew: i64,
    pub(crate) random: Random,
}

pub(crate) type TimerKey = (Duration, u64);

struct Task {
    name: &'static str,
    host: String,
    /// Absent while the task is being polled.
    future: Option<BoxFuture<'static, ()>>,
    ready: bool,
}

impl Core {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            now: Duration::ZERO,
            step_limit: DEFAULT_STEP_LIMIT,
            trace: Trace::default(),
            hosts: BTreeMap::new(),
            network: NetworkState::new(seed),
            steps: 0,
            next_id: MAIN + 1,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            order: derive(seed, "order of tasks"),
            panic: None,
        };
        Arc::new(Self { seed, state: Mutex::new(state) })
    }

    /// Never held while foreign code (a future, a waker, a destructor) runs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Starts a task on a machine, unless that machine has crashed since `life`.
    pub(crate) fn spawn(&self, host: &str, life: u64, name: &'static str, future: BoxFuture<'static, ()>) {
        let mut state = self.lock();
        if state.hosts.get(host).is_none_or(|host| host.life != life) {
            drop(state);
            drop(future);
            return;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.record("spawn", &format!("{host} {name} {id}"));
        state.tasks.insert(id, Task { name, host: host.to_owned(), future: Some(future), ready: true });
        state.ready.push(id);
    }

    /// Ends all tasks of a machine where they stand.
    pub(crate) fn kill(&self, host: &str) {
        let mut state = self.lock();
        let dead: Vec<u64> = state.tasks.iter().filter(|(_, task)| task.host == host).map(|(id, _)| *id).collect();
        let dead: Vec<Task> = dead.iter().filter_map(|id| state.tasks.remove(id)).collect();
        drop(state);
        // Destructors may spawn, wake and record.
        drop(dead);
    }

    /// Ends everything.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        for host in state.hosts.values_mut() {
            host.life += 1;
        }
        let tasks = std::mem::take(&mut state.tasks);
        let timers = std::mem::take(&mut state.timers);
        let network = std::mem::replace(&mut state.network, NetworkState::new(self.seed));
        drop(state);
        drop((tasks, timers, network));
    }

    pub(crate) fn panicked(&self, task: &'static str, message: &str) {
        let mut state = self.lock();
        state.record("panic", &format!("{task}: {message}"));
        state.panic.get_or_insert_with(|| (task, message.to_owned()));
    }

    pub(crate) fn run<F: Future>(self: &Arc<Self>, main: F) -> Result<F::Output, SimulationError> {
        let mut main = pin!(main);
        self.lock().steps = 0;
        self.wake(MAIN);
        loop {
            let Some(id) = self.next_task()? else { continue };
            let waker = Waker::from(Arc::new(TaskWaker { core: Arc::downgrade(self), id }));
            let mut context = Context::from_waker(&waker);
            if id == MAIN {
                if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                    // A wake-up that came too late must not be the next run's.
                    self.lock().ready.retain(|id| *id != MAIN);
                    return Ok(output);
                }
                continue;
            }
            let future = self.lock().tasks.get_mut(&id).and_then(|task| task.future.take());
            let Some(mut future) = future else { continue };
            let pending = future.as_mut().poll(&mut context).is_pending();
            let mut state = self.lock();
            match state.tasks.get_mut(&id) {
                Some(task) if pending => task.future = Some(future),
                _ => {
                    // Done, or killed while it was running.
                    let task = state.tasks.remove(&id);
                    drop(state);
                    drop((task, future));
                }
            }
        }
    }

    /// The next task to be polled. If none is ready, time goes on to the next timer, and there is none yet.
    fn next_task(&self) -> Result<Option<u64>, SimulationError> {
        let mut state = self.lock();
        let seed = self.seed;
        if let Some((task, message)) = state.panic.take() {
            return Err(SimulationError::Panicked { seed, task, message });
        }
        if !state.ready.is_empty() {
            state.steps += 1;
            if state.steps > state.step_limit {
                return Err(SimulationError::Endless { seed, steps: state.step_limit });
            }
            let count = state.ready.len();
            let chosen = state.order.random_range(0..count);
            let id = state.ready.swap_remove(chosen);
            if let Some(task) = state.tasks.get_mut(&id) {
                task.ready = false;
            } else if id != MAIN {
                return Ok(None);
            }
            let now = state.now;
            state.trace.step(now, id);
            return Ok(Some(id));
        }
        let Some(((deadline, _), _)) = state.timers.first_key_value() else {
            let waiting = state.tasks.values().map(|task| format!("{} on {}", task.name, task.host)).collect();
            return Err(SimulationError::Stalled { seed, waiting });
        };
        let deadline = *deadline;
        state.now = deadline;
        let mut due = Vec::new();
        while let Some(timer) = state.timers.first_entry().filter(|timer| timer.key().0 <= deadline) {
            due.push(timer.remove());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        Ok(None)
    }

    fn wake(&self, id: u64) {
        let mut state = self.lock();
        let newly = if id == MAIN {
            !state.ready.contains(&MAIN)
        } else {
            state.tasks.get_mut(&id).is_some_and(|task| !std::mem::replace(&mut task.ready, true))
        };
        if newly {
            state.ready.push(id);
        }
    }
}

impl State {
    pub(crate) fn record(&mut self, kind: &str, detail: &str) {
        let now = self.now;
        self.trace.record(now, kind, detail);
    }

    /// Sets a timer, or moves it to another waker; gives the waker it had.
    pub(crate) fn set_timer(
        &mut self,
        key: Option<TimerKey>,
        deadline: Duration,
        waker: Waker,
    ) -> (TimerKey, Option<Waker>) {
        let key = key.unwrap_or_else(|| {
            self.next_id += 1;
            (deadline, self.next_id - 1)
        });
        (key, self.timers.insert(key, waker))
    }

    pub(crate) fn remove_timer(&mut self, key: TimerKey) -> Option<Waker> {
        self.timers.remove(&key)
    }
}

struct TaskWaker {
    core: Weak<Core>,
    id: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Some(core) = self.core.upgrade() {
            core.wake(self.id);
        }
    }
}

/// A generator of its own for each use, so that one use more does not shift all others.
pub(crate) fn derive(seed: u64, purpose: &str) -> Random {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_be_bytes());
    hasher.update(purpose.as_bytes());
    Random::from_seed(hasher.finalize().into())
}
