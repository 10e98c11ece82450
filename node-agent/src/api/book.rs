//! What is said of each Placement, what the API server has of it, and when it may be written next. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};

use crds::PlacementStatus;
use tokio::time::Instant;

use crate::view::PlacementKey;

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    latest: BTreeMap<PlacementKey, PlacementStatus>,
    stored: BTreeMap<PlacementKey, PlacementStatus>,
    /// Those of which something else is said than is stored: the others are not looked at.
    differ: BTreeSet<PlacementKey>,
    not_before: BTreeMap<PlacementKey, Instant>,
    pace: Option<Instant>,
}

impl Book {
    /// What is said of it.
    pub(super) fn latest(&self, key: &PlacementKey) -> Option<&PlacementStatus> {
        self.latest.get(key)
    }

    /// The API server has these, and no others.
    pub(super) fn stored(&mut self, stored: BTreeMap<PlacementKey, PlacementStatus>) {
        self.not_before.retain(|key, _| stored.contains_key(key));
        self.stored = stored;
        self.compare_all();
    }

    /// The API server has this one; `None` = it is gone there.
    pub(super) fn stored_one(&mut self, key: PlacementKey, status: Option<PlacementStatus>) {
        match status {
            Some(status) => {
                self.stored.insert(key.clone(), status);
            }
            None => {
                self.stored.remove(&key);
                self.not_before.remove(&key);
            }
        }
        self.compare(key);
    }

    /// These are to be stored, and no others.
    pub(super) fn say(&mut self, statuses: BTreeMap<PlacementKey, PlacementStatus>) {
        self.latest = statuses;
        self.compare_all();
    }

    /// These are to be stored, the others are as they were.
    pub(super) fn say_some(&mut self, statuses: BTreeMap<PlacementKey, PlacementStatus>) {
        for (key, status) in statuses {
            self.latest.insert(key.clone(), status);
            self.compare(key);
        }
    }

    fn compare_all(&mut self) {
        let keys = self.latest.keys();
        self.differ = keys.filter(|key| self.differs(key)).cloned().collect();
    }

    fn compare(&mut self, key: PlacementKey) {
        if self.differs(&key) {
            self.differ.insert(key);
        } else {
            self.differ.remove(&key);
        }
    }

    /// What is gone at the API server has nothing to write to.
    fn differs(&self, key: &PlacementKey) -> bool {
        let stored = self.stored.get(key);
        stored.is_some_and(|stored| self.latest.get(key).is_some_and(|latest| latest != stored))
    }

    /// The next write, and when it may be made.
    pub(super) fn due(&self, now: Instant) -> Option<(Instant, PlacementKey)> {
        let at = |key: &PlacementKey| self.not_before.get(key).copied().max(self.pace).unwrap_or(now);
        self.differ.iter().map(|key| (at(key), key.clone())).min()
    }

    /// After a write: when this one may be written again, and when any other.
    pub(super) fn wait(&mut self, key: PlacementKey, not_before: Instant, pace: Instant) {
        self.not_before.insert(key, not_before);
        self.pace = Some(pace);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> PlacementKey {
        PlacementKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    fn status(generation: i64) -> PlacementStatus {
        PlacementStatus {
            observed_generation: Some(generation),
            ..PlacementStatus::default()
        }
    }

    fn all(generations: &[(&str, i64)]) -> BTreeMap<PlacementKey, PlacementStatus> {
        let each = generations.iter();
        each.map(|(name, number)| (key(name), status(*number))).collect()
    }

    fn due(book: &Book, now: Instant) -> Option<(Duration, String)> {
        let (at, key) = book.due(now)?;
        Some((at.saturating_duration_since(now), key.name))
    }

    #[test]
    fn what_differs_is_due_and_nothing_else() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.say(all(&[("a", 1), ("b", 1)]));
        assert_eq!(due(&book, now), None, "nothing is known of the API server");
        book.stored(all(&[("a", 1), ("b", 0)]));
        assert_eq!(due(&book, now), Some((Duration::ZERO, "b".to_owned())));
        book.stored_one(key("b"), Some(status(1)));
        assert_eq!(due(&book, now), None);
        book.say_some(all(&[("a", 2)]));
        assert_eq!(due(&book, now), Some((Duration::ZERO, "a".to_owned())));
        book.stored_one(key("a"), None);
        assert_eq!(due(&book, now), None, "there is nothing to write to");
    }

    #[test]
    fn one_that_was_just_written_waits_and_others_wait_less() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.stored(all(&[("a", 0), ("b", 0)]));
        book.say(all(&[("a", 1), ("b", 1)]));
        let (second, pace) = (Duration::from_secs(1), Duration::from_millis(50));
        book.wait(key("a"), now + second, now + pace);
        assert_eq!(due(&book, now), Some((pace, "b".to_owned())));
        book.stored_one(key("b"), Some(status(1)));
        assert_eq!(due(&book, now), Some((second, "a".to_owned())));
    }
}
