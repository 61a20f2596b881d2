//! The parts of a simulated machine's world.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, channel::oneshot, future::BoxFuture};
use rand::{Rng, RngExt};

use super::{
    START,
    executor::{Core, TimerKey},
};
use crate::{Answer, Chance, Clock, LookupError, Resolver, Sleep, Srv, Tasks, Timestamp, dns::order_srv};

/// The shortest sleep: time passes in any loop that sleeps.
const MIN_SLEEP: Duration = Duration::from_micros(1);

/// The longest that blocking work takes to be done.
const MAX_BLOCKING: Duration = Duration::from_millis(3);

/// The longest that a lookup takes.
const MAX_LOOKUP: Duration = Duration::from_millis(30);

/// How long what DNS answers may be kept.
const DNS_VALIDITY: Duration = Duration::from_secs(60);

/// One machine, from one start to the next crash.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) core: Arc<Core>,
    pub(crate) name: Arc<str>,
    pub(crate) life: u64,
}

impl Machine {
    /// A random duration up to `most`.
    pub(crate) fn draw(&self, most: Duration) -> Duration {
        let mut state = self.core.lock();
        match state.hosts.get_mut(&*self.name) {
            Some(host) => host.random.random_range(Duration::ZERO..=most),
            None => Duration::ZERO,
        }
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        let state = self.core.lock();
        let skew = state.hosts.get(&*self.name).map_or(0, |host| host.skew);
        let now = START.plus(state.now).millis();
        Timestamp::from_millis(now.saturating_add_signed(skew))
    }

    fn monotonic(&self) -> Duration {
        self.core.lock().now
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(sleep(self.core.clone(), duration))
    }
}

impl Tasks for Machine {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.core.spawn(&self.name, self.life, name, task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // A task of its own: as in the real world, the work is done whether or not somebody still waits for it.
        let (sender, done) = oneshot::channel();
        let pause = sleep(self.core.clone(), self.draw(MAX_BLOCKING));
        let task = async move {
            pause.await;
            work();
            let _ = sender.send(());
        };
        self.core.spawn(&self.name, self.life, "blocking work", task.boxed());
        done.map(|_| ()).boxed()
    }

    fn panicked(&self, name: &'static str, message: &str) {
        self.core.panicked(name, message);
    }
}

impl Chance for Machine {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.core.lock();
        if let Some(host) = state.hosts.get_mut(&*self.name) {
            host.random.fill_bytes(bytes);
        }
    }
}

#[async_trait]
impl Resolver for Machine {
    async fn lookup_ip(&self, name: &str) -> Result<Answer<IpAddr>, LookupError> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.parse() {
            return Ok(Answer { records: vec![address], valid_for: Duration::MAX });
        }
        self.look_up(&name, "A or AAAA", |network| network.addresses.get(&name).cloned()).await
    }

    async fn lookup_srv(&self, name: &str) -> Result<Answer<Srv>, LookupError> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut answer = self.look_up(&name, "SRV", |network| network.services.get(&name).cloned()).await?;
        let mut state = self.core.lock();
        if let Some(host) = state.hosts.get_mut(&*self.name) {
            answer.records = order_srv(answer.records, |most| host.random.random_range(0..=most));
        }
        Ok(answer)
    }
}

impl Machine {
    async fn look_up<T>(
        &self,
        name: &str,
        kind: &'static str,
        find: impl Fn(&super::network::NetworkState) -> Option<Vec<T>> + Send,
    ) -> Result<Answer<T>, LookupError> {
        let pause = self.draw(MAX_LOOKUP);
        sleep(self.core.clone(), pause).await;
        let mut state = self.core.lock();
        let found = find(&state.network).filter(|records| !records.is_empty());
        let failing = state.network.dns_fails;
        let outcome = if failing {
            "failed"
        } else if found.is_some() {
            "found"
        } else {
            "absent"
        };
        state.record("lookup", &format!("{} {kind} {name} {outcome}", self.name));
        match found {
            _ if failing => Err(LookupError::Failed {
                name: name.to_owned(),
                kind,
                detail: "the simulation's DNS is down".to_owned(),
            }),
            Some(records) => Ok(Answer { records, valid_for: DNS_VALIDITY }),
            None => Err(LookupError::Absent { name: name.to_owned(), kind, valid_for: DNS_VALIDITY }),
        }
    }
}

/// Completes once virtual time has gone on by `duration`.
pub(crate) fn sleep(core: Arc<Core>, duration: Duration) -> impl Future<Output = ()> + Send {
    let deadline = core.lock().now.saturating_add(duration.max(MIN_SLEEP));
    VirtualSleep { core, deadline, timer: None }
}

struct VirtualSleep {
    core: Arc<Core>,
    deadline: Duration,
    timer: Option<TimerKey>,
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.core.lock();
        if state.now >= this.deadline {
            return Poll::Ready(());
        }
        let (timer, before) = state.set_timer(this.timer, this.deadline, cx.waker().clone());
        this.timer = Some(timer);
        drop(state);
        // Outside of the lock: it may be the last reference to its task.
        drop(before);
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        let waker = self.timer.take().and_then(|timer| self.core.lock().remove_timer(timer));
        drop(waker);
    }
}
