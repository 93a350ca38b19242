//! What do we send back, all at once or as it comes?

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The stream ended before it was complete; the connection is cut so that the reader can tell.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the stream was cut")]
pub struct Cut;

/// A response's body.
pub enum Body {
    /// All of it, known by length.
    Whole(Option<Bytes>),
    /// As it comes.
    Stream(mpsc::Receiver<Result<Bytes, Cut>>),
}

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Self::Whole(None)
    }

    /// A stream, with the end to write to. `ahead` pieces may wait in it.
    pub fn stream(ahead: usize) -> (mpsc::Sender<Result<Bytes, Cut>>, Self) {
        let (sender, receiver) = mpsc::channel(ahead);
        (sender, Self::Stream(receiver))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => {
                receiver.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
