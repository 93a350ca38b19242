//! Who evaluates?
//!
//! Threads of their own with large stacks, each with its own engine. The timer inside an engine
//! ends a long loop but not one long built-in: a thread that is stuck in one is given up and
//! replaced, a bounded number of times at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Settings;
use super::engine::{Program, Question, Seat};
use super::outcome::Outcome;

/// Jobs that may wait. More at once are refused, so that waiting stays short.
const MAX_WAITING: usize = 1_024;

type Answers = Vec<Result<Outcome, String>>;

struct Job {
    questions: Vec<Question>,
    until: Instant,
    reply: oneshot::Sender<Answers>,
}

/// One thread, as the others see it.
struct Post {
    /// When its job has to be done; `None` while it waits for one.
    busy_until: Mutex<Option<Instant>>,
    /// It was replaced, and ends when it can.
    given_up: AtomicBool,
}

struct Shared {
    program: Arc<Program>,
    queue: Mutex<Queue>,
    wake: Condvar,
    posts: Mutex<Vec<Arc<Post>>>,
    /// Threads that were given up and still run.
    stuck: AtomicUsize,
    stack_bytes: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The threads of one snapshot. They end when it is dropped.
pub(super) struct Workers {
    shared: Arc<Shared>,
    grace: Duration,
    size: usize,
}

impl Workers {
    /// Start the threads, and wait until each has its engine: a call right after a reload must not
    /// spend its deadline on that.
    pub(super) fn start(program: Arc<Program>, settings: &Settings) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            program,
            queue: Mutex::default(),
            wake: Condvar::new(),
            posts: Mutex::default(),
            stuck: AtomicUsize::new(0),
            stack_bytes: settings.stack_bytes,
        });
        let workers = Self { shared, grace: settings.deadline, size: settings.workers.max(1) };
        let ready = (0..workers.size)
            .map(|_| hire(&workers.shared))
            .collect::<std::io::Result<Vec<_>>>()?;
        for one in ready {
            one.recv_timeout(settings.patience)
                .map_err(|_| std::io::Error::other("an engine took too long to build"))?;
        }
        Ok(workers)
    }

    /// Ask all of them in one go, and wait no longer than `until`.
    pub(super) async fn ask(
        &self,
        questions: Vec<Question>,
        until: Instant,
    ) -> Result<Answers, &'static str> {
        let (reply, answer) = oneshot::channel();
        {
            let mut queue = lock(&self.shared.queue);
            if queue.jobs.len() >= MAX_WAITING {
                return Err("too many evaluations wait");
            }
            queue.jobs.push_back(Job { questions, until, reply });
        }
        self.shared.wake.notify_one();
        match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(_)) => Err("its thread ended"),
            Err(_) => {
                self.relieve();
                Err("it ran past its deadline")
            }
        }
    }

    /// Threads that were given up and still run.
    pub(super) fn stuck(&self) -> usize {
        self.shared.stuck.load(Ordering::SeqCst)
    }

    /// Replace threads that are past their deadline by more than another one: no timer ends them.
    fn relieve(&self) {
        let now = Instant::now();
        let mut posts = lock(&self.shared.posts);
        let stuck =
            |post: &Arc<Post>| lock(&post.busy_until).is_some_and(|until| now > until + self.grace);
        while let Some(at) = posts.iter().position(stuck) {
            // Each that is given up may burn a core until its built-in ends.
            if self.stuck() >= self.size {
                return;
            }
            let post = posts.swap_remove(at);
            post.given_up.store(true, Ordering::SeqCst);
            self.shared.stuck.fetch_add(1, Ordering::SeqCst);
            drop(posts);
            if let Err(error) = hire(&self.shared) {
                tracing::error!(%error, "no thread to replace a stuck policy evaluation");
                return;
            }
            tracing::warn!("a policy evaluation is stuck in one built-in; its thread is replaced");
            posts = lock(&self.shared.posts);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.wake.notify_all();
    }
}

/// Start one thread. It says when its engine is built.
fn hire(shared: &Arc<Shared>) -> std::io::Result<mpsc::Receiver<()>> {
    let post = Arc::new(Post { busy_until: Mutex::new(None), given_up: AtomicBool::new(false) });
    lock(&shared.posts).push(post.clone());
    let shared = shared.clone();
    let (ready, is_ready) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("policy".into())
        .stack_size(shared.stack_bytes)
        .spawn(move || work(&shared, &post, &ready))?;
    Ok(is_ready)
}

fn work(shared: &Shared, post: &Post, ready: &mpsc::SyncSender<()>) {
    let mut seat = Seat::new(&shared.program);
    seat.warm();
    // Nobody listens where a stuck thread was replaced.
    let _ = ready.try_send(());
    while let Some(job) = next(shared) {
        // Who asked may have gone; then nobody needs the answer.
        if !job.reply.is_closed() && Instant::now() < job.until {
            *lock(&post.busy_until) = Some(job.until);
            let answers = job.questions.into_iter().map(|q| seat.ask(q, job.until)).collect();
            *lock(&post.busy_until) = None;
            let _ = job.reply.send(answers);
        }
        if post.given_up.load(Ordering::SeqCst) {
            shared.stuck.fetch_sub(1, Ordering::SeqCst);
            return;
        }
    }
}

fn next(shared: &Shared) -> Option<Job> {
    let mut queue = lock(&shared.queue);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            return Some(job);
        }
        if queue.closed {
            return None;
        }
        queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
