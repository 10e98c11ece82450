//! What destinations have gone through, as far as the next step depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use health::{Drain, Moment, QuorumState};
use ipvs::ServiceKey;
use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::{Now, Place};

/// What is known of a Placement's destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// What outlives the process.
    pub kept: Kept,
    /// Destinations that serve with their whole weight, where there is slow start: what a flush takes away does not come
    /// back slowly. After a restart these are the ones that are in the table.
    pub(super) whole: BTreeSet<Place>,
}

/// What outlives the process, as a line of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(default, with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) leaves: BTreeMap<Place, Leave>,
    #[serde(default, with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) quorums: BTreeMap<ServiceKey, QuorumState>,
    #[serde(default, with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) ramps: BTreeMap<Place, Moment>,
}

/// How far a destination is that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Leave {
    /// It keeps its connections.
    Draining(Leaving),
    /// It is over: the destination goes, if it is there still, and does not begin again.
    Over,
}

/// A drain, with its beginning in people's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaving {
    drain: Drain,
    began: Timestamp,
}

impl Leaving {
    /// From now on.
    pub(super) fn new(now: Now, timeout: Duration) -> Self {
        Self {
            drain: Drain::new(now.moment, timeout),
            // A status has whole seconds, and must not differ from one report to the next.
            began: now.clock.round(Unit::Second).unwrap_or(now.clock),
        }
    }

    /// The same, with the timeout that the spec has by now.
    pub(super) fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            drain: self.drain.with_timeout(timeout),
            ..self
        }
    }

    /// The machine.
    pub(super) fn drain(self) -> Drain {
        self.drain
    }

    /// When it ends at the latest.
    pub(super) fn until(self) -> Timestamp {
        let length = self.drain.deadline().since(self.drain.since());
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        self.began.saturating_add(length).unwrap_or(self.began)
    }

    /// Whether a count of now says something.
    pub(super) fn is_countable(self, now: Moment) -> bool {
        now.since(self.drain.since()) >= HANDSHAKE
    }
}

/// A handshake that began before the destination had weight 0 is over after so long, or will never be.
const HANDSHAKE: Duration = Duration::from_millis(900);

impl Course {
    /// After a restart.
    pub fn restored(kept: Kept) -> Self {
        Self {
            kept,
            whole: BTreeSet::new(),
        }
    }

    /// Destinations that keep their connections.
    pub fn places_draining(&self) -> impl Iterator<Item = Place> {
        self.draining().map(|(place, _)| *place)
    }

    pub(super) fn draining(&self) -> impl Iterator<Item = (&Place, &Leaving)> {
        self.kept.leaves.iter().filter_map(|(place, leave)| match leave {
            Leave::Draining(leaving) => Some((place, leaving)),
            Leave::Over => None,
        })
    }
}

impl Kept {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Maps whose keys are no texts, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(from)?;
        Ok(pairs.into_iter().collect())
    }
}
