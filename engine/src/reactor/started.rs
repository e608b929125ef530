//! A future that is under way before anybody waits for it.
//!
//! What a read or a call asks of reactors goes on without anyone polling; only the first poll is needed to ask. So a
//! future is polled once when it becomes a [`Started`], and again when somebody awaits that; nobody is woken in between.
//! Rejected: a task of its own on a reactor (it would do there what the caller does after the wait: hash, copy).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// See the module. Dropping it gives up what is under way, as dropping the future does.
pub struct Started<T>(State<T>);

enum State<T> {
    UnderWay(Pin<Box<dyn Future<Output = T> + Send>>),
    Done(Option<T>),
}

impl<T> Started<T> {
    /// Polls `future` for the first time.
    pub fn new(future: impl Future<Output = T> + Send + 'static) -> Started<T> {
        let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
        Started(
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => State::Done(Some(output)),
                Poll::Pending => State::UnderWay(future),
            },
        )
    }
}

// The future is pinned by its box, and an output is moved out.
impl<T> Unpin for Started<T> {}

impl<T> Future for Started<T> {
    type Output = T;

    /// # Panics
    /// When polled again after its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            State::UnderWay(future) => future.as_mut().poll(context),
            State::Done(output) => Poll::Ready(output.take().expect("awaited once")),
        }
    }
}

impl<T> fmt::Debug for Started<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::UnderWay(_) => "Started(under way)",
            State::Done(_) => "Started(done)",
        })
    }
}
