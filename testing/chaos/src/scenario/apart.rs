//! Work that is done beside what is measured, on threads of its own: it competes with it for processors, as another machine's work would
//! not even do, and never for a turn within one runtime.

use std::future::Future;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// Dropping it ends whatever is done there.
#[derive(Debug)]
pub(super) struct Apart {
    runtime: Option<Runtime>,
}

impl Apart {
    /// Makes so many threads.
    pub(super) fn new(name: &str, threads: usize) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
        Ok(Self { runtime: Some(runtime.with_context(|| format!("no threads for the {name}"))?) })
    }

    /// Does it there, and waits for it. Cancelling does not end it.
    ///
    /// # Errors
    /// It panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let runtime = self.runtime.as_ref().context("it has ended")?;
        Ok(runtime.spawn(work).await?)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed within another runtime.
            runtime.shutdown_background();
        }
    }
}
