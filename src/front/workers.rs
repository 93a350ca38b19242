//! Which thread serves this connection?
//!
//! One for each processor, each with a runtime of its own. A call stays on the thread of its
//! connection, and so does its connection to the server: no thread waits for another, which costs
//! more than the work of a call itself.

use std::cell::Cell;
use std::io;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// Bytes of a worker's stack. Without optimisation a call that waits for people takes more than the
/// usual 2 MiB; what is not touched costs nothing.
pub const STACK: usize = 8 * 1024 * 1024;

thread_local! {
    /// The number of this worker; 0 on all other threads.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// How many workers there are.
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number of the worker that asks, from 1 to [`count`]; 0 anywhere else.
pub fn number() -> usize {
    NUMBER.get()
}

/// Threads that take connections, each in its turn.
pub struct Workers<T> {
    workers: Vec<(mpsc::UnboundedSender<T>, JoinHandle<()>)>,
    next: usize,
}

impl<T: Send + 'static> Workers<T> {
    /// Starts them. Each does `work` with what it is given, until it is given nothing more.
    pub fn start<F>(work: impl Fn(mpsc::UnboundedReceiver<T>) -> F) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let workers = (1..=count())
            .map(|number| {
                let (give, taken) = mpsc::unbounded_channel();
                Ok((give, worker(number, work(taken))?))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { workers, next: 0 })
    }

    /// Gives something to the next worker; gives it back where there is none.
    pub fn give(&mut self, what: T) -> Result<(), T> {
        self.next = (self.next + 1) % self.workers.len().max(1);
        match self.workers.get(self.next) {
            Some((worker, _)) => worker.send(what).map_err(|unsent| unsent.0),
            None => Err(what),
        }
    }

    /// Gives nothing more, and waits for each to end.
    pub async fn end(self) {
        let threads: Vec<_> = self.workers.into_iter().map(|(_, thread)| thread).collect();
        let joined = tokio::task::spawn_blocking(|| {
            for thread in threads {
                // A panic has been told by the hook.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

fn worker(
    number: usize,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).stack_size(STACK);
    thread.spawn(move || {
        NUMBER.set(number);
        runtime.block_on(work);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_gets_its_turn_and_knows_its_number() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut workers = Workers::start(|mut taken: mpsc::UnboundedReceiver<usize>| {
            let tell = tell.clone();
            async move {
                while taken.recv().await.is_some() {
                    let _ = tell.send(number());
                }
            }
        })
        .unwrap();
        for turn in 0..count() * 2 {
            assert_eq!(workers.give(turn), Ok(()));
        }
        workers.end().await;
        drop(tell);
        let mut numbers = Vec::new();
        while let Some(number) = told.recv().await {
            numbers.push(number);
        }
        numbers.sort_unstable();
        let twice: Vec<_> = (1..=count()).flat_map(|number| [number, number]).collect();
        assert_eq!(numbers, twice);
        assert_eq!(number(), 0);
    }
}
