//! Refuses new events while somebody says so, as a full log would: nothing is stored, and the client goes back and comes
//! again. (Kafka's retention deletes whether or not anybody has executed; rule 8 of the delivery rules.)

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use nimbus_core::ports::log::LogError;

/// Open unless it was closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    why: Mutex<String>,
}

impl Gate {
    /// Closes it for a reason, or opens it.
    pub(crate) fn set(&self, refusal: Option<String>) {
        let closed = refusal.is_some();
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = refusal.unwrap_or_default();
        self.closed.store(closed, Ordering::Release);
    }

    /// [`LogError::Full`] while it is closed.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if !self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(LogError::Full(self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_for_its_reason_until_it_is_opened_again() {
        let gate = Gate::default();
        assert!(gate.check().is_ok());
        gate.set(Some("too old".to_owned()));
        assert!(matches!(gate.check(), Err(LogError::Full(why)) if why == "too old"));
        gate.set(None);
        assert!(gate.check().is_ok());
    }
}
