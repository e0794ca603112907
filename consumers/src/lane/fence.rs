//! Panics of executors, kept where they belong: in the dead letter, with the place where they began.
//!
//! Rust tells of every panic on standard error, with a backtrace where one is asked for: many milliseconds under a lock, on a thread that
//! other clients' events run on as well. An event that makes its executor panic is an ordinary failure here, and one client can send
//! thousands of them a second. A panic anywhere else is a fault of ours and stays as loud as it is.

use std::{
    cell::Cell,
    panic,
    pin::Pin,
    task::{Context, Poll},
};

thread_local! {
    /// Whether this thread is within an executor just now.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of an executor on this thread began.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Has panics of executors say nothing on standard error from now on: their words and their place are in the dead letter. Of the whole
/// process, as the hook of panics is; for the program to call once, before it starts executors. Other panics go to the hook before.
pub fn keep_panics_of_executors() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if INSIDE.get() {
            PLACE.set(info.location().map(ToString::to_string));
        } else {
            before(info);
        }
    }));
}

/// Where the last panic of an executor on this thread began, if that is kept.
pub(super) fn place() -> Option<String> {
    PLACE.take()
}

/// Runs a piece of an executor.
pub(super) fn within<R>(work: impl FnOnce() -> R) -> R {
    /// Also when it panics.
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _leave = Leave(INSIDE.replace(true));
    work()
}

/// A future of an executor.
pub(super) struct Within<F>(pub(super) F);

impl<F: Future + Unpin> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        within(|| Pin::new(&mut self.0).poll(cx))
    }
}
