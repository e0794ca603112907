//! The built-in executors: one small file each, and the example to follow when adding one.
//!
//! An executor knows `nimbus-core` only. It gets one event, answers with one result (or a typed refusal), and leaves
//! retries, time limits, dead letters and ordering to the runtime in `nimbus-consumers`.

mod delay;
mod echo;
mod fail;
mod json;
mod sq;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use nimbus_core::ports::executor::Executor;

pub use delay::{Delay, MAX_DELAY};
pub use echo::Echo;
pub use fail::Fail;
pub use sq::Sq;

/// Every built-in executor, one of each.
pub fn builtin() -> Vec<Arc<dyn Executor>> {
    vec![Arc::new(Sq::new()), Arc::new(Echo), Arc::new(Delay::new()), Arc::new(Fail::new())]
}
