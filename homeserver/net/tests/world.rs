//! Tasks, timers and randomness of the real world.
// The real world, with a thread of its own to call it from.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use net::{Elapsed, RealOptions, StartError, TaskError, TlsRoots, World};

fn world() -> World {
    World::real(RealOptions { roots: TlsRoots::ExtraOnly, ..RealOptions::default() }).unwrap()
}

#[test]
fn it_needs_a_runtime() {
    assert!(matches!(World::real(RealOptions::default()), Err(StartError::NoRuntime)));
}

#[tokio::test]
async fn tasks_give_results_and_survive_their_handles() {
    let world = world();
    assert_eq!(world.spawn("sum", async { 1 + 1 }).await, Ok(2));
    let (sender, receiver) = futures::channel::oneshot::channel();
    let clock = world.clone();
    drop(world.spawn("detached", async move {
        clock.sleep(Duration::from_millis(5)).await;
        let _ = sender.send(());
    }));
    receiver.await.unwrap();
}

#[tokio::test]
async fn aborted_and_panicking_tasks_say_so_and_harm_nobody() {
    struct OnDrop(Arc<AtomicBool>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let world = world();
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = OnDrop(dropped.clone());
    let task = world.spawn("endless", async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    assert!(!task.is_finished());
    task.abort();
    assert_eq!(task.await, Err(TaskError::Aborted("endless")));
    assert!(dropped.load(Ordering::SeqCst));

    let task = world.spawn("clumsy", async { panic!("oh {}", "no") });
    assert_eq!(task.await, Err::<(), _>(TaskError::Panicked("clumsy", "oh no".to_owned())));
}

#[tokio::test]
async fn what_is_seen_through_goes_on_without_its_caller() {
    let world = world();
    assert_eq!(world.see_through("sum", async { 1 + 1 }).await, 2);

    let (go, gone) = futures::channel::oneshot::channel::<()>();
    let (sender, receiver) = futures::channel::oneshot::channel();
    let began = Arc::new(AtomicBool::new(false));
    let begins = began.clone();
    let mut work = world.see_through("abandoned", async move {
        assert!(!begins.swap(true, Ordering::SeqCst), "it began twice");
        let _ = gone.await;
        let _ = sender.send(7);
    });
    assert!(!began.load(Ordering::SeqCst), "it is run in place, not beside its caller");
    assert!(futures::poll!(&mut work).is_pending());
    assert!(began.load(Ordering::SeqCst));
    drop(work);
    let _ = go.send(());
    assert_eq!(receiver.await, Ok(7));

    // Nor is it lost if its caller never looked at it.
    let (sender, receiver) = futures::channel::oneshot::channel();
    drop(world.see_through("unseen", async move { sender.send(()) }));
    assert_eq!(receiver.await, Ok(()));

    // What has panicked ends there.
    let clumsy = world.see_through("clumsy", async { panic!("oh no") });
    let caller = world.spawn("caller", clumsy);
    assert_eq!(caller.await, Err::<(), _>(TaskError::Panicked("caller", "oh no".to_owned())));
}

#[tokio::test]
async fn timeouts_end_futures_and_prefer_results() {
    let world = world();
    let short = Duration::from_millis(1);
    assert_eq!(world.timeout(short, std::future::pending::<()>()).await, Err(Elapsed(short)));
    assert_eq!(world.timeout(Duration::ZERO, std::future::ready(7)).await, Ok(7));
    let before = world.monotonic();
    world.sleep(Duration::from_millis(20)).await;
    assert!(world.monotonic() - before >= Duration::from_millis(20));
    assert!(world.now().millis() > 1_700_000_000_000);
}

#[tokio::test]
async fn timers_and_tasks_start_on_any_thread() {
    let world = world();
    let elsewhere = world.clone();
    let (sleep, task) =
        std::thread::spawn(move || (elsewhere.sleep(Duration::from_millis(1)), elsewhere.spawn("far", async { 3 })))
            .join()
            .unwrap();
    sleep.await;
    assert_eq!(task.await, Ok(3));
}

#[tokio::test]
async fn blocking_work_returns_and_panics_in_its_caller() {
    let world = world();
    assert_eq!(world.blocking(|| "done".to_owned()).await, "done");
    let clumsy = world.clone();
    let task = world.spawn("caller", async move { clumsy.blocking(|| panic!("oops")).await });
    assert_eq!(task.await, Err::<(), _>(TaskError::Panicked("caller", "oops".to_owned())));
}

#[tokio::test]
async fn randomness_differs() {
    let world = world();
    assert_ne!(world.random_bytes::<32>(), world.random_bytes::<32>());
    use rand::RngExt;
    assert_ne!(world.rng().random::<u128>(), world.rng().random::<u128>());
}
