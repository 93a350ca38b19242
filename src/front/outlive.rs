//! What outlives a client's hang-up?
//!
//! hyper drops the work on a request when the client goes away. Where that is no cancel, what is
//! left of the work goes on in a task of its own, so that a hang-up skips no record and refunds
//! nothing. As long as the client stays, there is no other task and nothing to hand over.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::runtime::Handle;

/// The work panicked; the hook has told where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Box<dyn Any + Send>>> + Send>>;

/// Work that goes on when nobody waits for it any more.
pub struct Outliving<T: Send + 'static> {
    work: Option<Work<T>>,
    cancels: bool,
}

impl<T: Send + 'static> Outliving<T> {
    /// Work that is done to its end, whoever waits; with `cancels`, it ends with the waiting.
    pub fn new(work: impl Future<Output = T> + Send + 'static, cancels: bool) -> Self {
        Self { work: Some(Box::pin(AssertUnwindSafe(work).catch_unwind())), cancels }
    }
}

impl<T: Send + 'static> Future for Outliving<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Ready(Err(Panicked)) };
        let done = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(done.map_err(|_| Panicked))
    }
}

impl<T: Send + 'static> Drop for Outliving<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && !self.cancels
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_unless_that_cancels() {
        for (cancels, goes_on) in [(false, true), (true, false)] {
            let (go, went) = oneshot::channel::<()>();
            let (done, finished) = oneshot::channel();
            let work = async move {
                let _ = went.await;
                let _ = done.send(());
            };
            let waiting = tokio::time::timeout(Duration::ZERO, Outliving::new(work, cancels));
            assert!(waiting.await.is_err());
            let _ = go.send(());
            assert_eq!(finished.await.is_ok(), goes_on, "cancels: {cancels}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let work = async {
            tokio::task::yield_now().await;
            panic!("of the work");
        };
        assert_eq!(Outliving::<()>::new(work, false).await, Err(Panicked));
        assert_eq!(Outliving::new(async { 7 }, false).await, Ok(7));
    }
}
