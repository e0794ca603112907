//! Which executor handles which event name. Fixed for the life of the process.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use nimbus_core::{EventName, Lane, chance::HashMap, ports::executor::Executor};

use crate::CatalogueError;

/// The executors of this process by event name.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_name: HashMap<EventName, usize>,
}

/// One executor, with what it declares: asked once, so that it cannot change its mind between two events.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: EventName,
    pub(crate) lane: Lane,
    pub(crate) time_limit: Duration,
    pub(crate) pure: bool,
    pub(crate) executor: Arc<dyn Executor>,
    /// Its place in the catalogue: where its meters are.
    pub(crate) index: usize,
    /// Whether an attempt was ever seen that did not end at once. A hint for how to hold its events.
    pub(crate) slow: AtomicBool,
}

impl Catalogue {
    /// Takes in executors.
    ///
    /// # Errors
    /// [`CatalogueError`] when two have the same name, or one has a name that no event can have.
    pub fn try_new(executors: Vec<Arc<dyn Executor>>) -> Result<Self, CatalogueError> {
        let mut catalogue = Self { entries: Vec::new(), by_name: HashMap::default() };
        for executor in executors {
            let name = EventName::try_new(executor.name())?;
            let index = catalogue.entries.len();
            if catalogue.by_name.insert(name.clone(), index).is_some() {
                return Err(CatalogueError::Duplicate(name.to_string()));
            }
            let (lane, time_limit, pure) = (executor.lane(), executor.time_limit(), executor.is_pure());
            let slow = AtomicBool::new(false);
            catalogue.entries.push(Entry { name, lane, time_limit, pure, executor, index, slow });
        }
        Ok(catalogue)
    }

    /// The event names that are handled, in the order in which the executors were given.
    pub fn names(&self) -> impl Iterator<Item = &EventName> {
        self.entries.iter().map(|entry| &entry.name)
    }

    pub(crate) fn find(&self, name: &EventName) -> Option<&Entry> {
        self.by_name.get(name).map(|index| &self.entries[*index])
    }

    pub(crate) fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    pub(crate) fn names_of(&self, lane: Lane) -> impl Iterator<Item = &EventName> {
        self.entries.iter().filter(move |entry| entry.lane == lane).map(|entry| &entry.name)
    }

    /// Whether there is an executor in this lane that can begin with events which are not yet durable.
    pub(crate) fn has_pure(&self, lane: Lane) -> bool {
        self.entries.iter().any(|entry| entry.pure && entry.lane == lane)
    }

    pub(crate) fn serves(&self, lane: Lane) -> bool {
        self.names_of(lane).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_two_executors_of_one_name() {
        let mut twice = nimbus_executors::builtin();
        twice.extend(nimbus_executors::builtin());
        assert_eq!(Catalogue::try_new(twice).unwrap_err(), CatalogueError::Duplicate("sq".to_owned()));
    }

    #[test]
    fn finds_what_it_was_given() {
        let catalogue = Catalogue::try_new(nimbus_executors::builtin()).unwrap();
        let names: Vec<_> = catalogue.names().map(EventName::as_str).collect();
        assert_eq!(names, ["sq", "echo", "delay", "fail"]);
        let found = |name| catalogue.find(&EventName::try_new(name).unwrap()).map(|entry| entry.index);
        assert_eq!(found("delay"), Some(2));
        assert_eq!(found("nobody"), None);
        assert!(catalogue.serves(Lane::Ordered) && !catalogue.serves(Lane::Jobs));
    }
}
