//! What becomes of destinations as time goes by: the steps of [`crate::serving`], with what they count and what they cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use health::Moment;
use ipvs::{Protocol, ServiceKey, Table};

use super::Node;
use crate::kernel::{Connection, Kernel, KernelError};
use crate::ledger::{Entry, Journal, Ledger};
use crate::ruleset::{Cut, Ruleset};
use crate::serving::{self, Circumstances, Course, Now, Place, Step};
use crate::view::PlacementKey;

/// What is known besides the ledger.
#[derive(Debug, Default)]
pub(super) struct Regime {
    courses: BTreeMap<PlacementKey, Course>,
    /// When a Placement's next step is due.
    due: BTreeMap<PlacementKey, Moment>,
    /// Connections that are reset, and until when: as long as IPVS would have known them.
    cut: BTreeMap<Cut, Moment>,
    /// Whether it was looked what an earlier agent had cut.
    is_adopted: bool,
    /// Connections of draining destinations, as they were counted last.
    remaining: BTreeMap<Place, u64>,
}

/// So many connections are reset at most: each is an element of a set. The clients of the others time out.
const MOST_CUT: usize = 16_384;
/// As long as IPVS knows an idle connection of TCP (`ip_vs_proto_tcp.c`), where it could not be asked.
const UNKNOWN: Duration = Duration::from_secs(900);
/// Resets that have become needless go together.
const TIDY: Duration = Duration::from_secs(30);

impl Regime {
    pub(super) fn restored(ledger: &Ledger) -> Self {
        let kept = ledger.courses.iter();
        let courses = kept.map(|(key, kept)| (key.clone(), Course::restored(kept.clone())));
        Self {
            courses: courses.collect(),
            ..Self::default()
        }
    }
}

impl<K: Kernel, J: Journal> Node<K, J> {
    /// When a pass is due by nobody's doing.
    pub fn due(&self) -> Option<Moment> {
        let cut = self.regime.cut.values().min();
        self.regime.due.values().chain(cut).min().copied()
    }

    /// Destinations that drain, with the connections that they had when these were counted last.
    pub fn draining(&self) -> &BTreeMap<Place, u64> {
        &self.regime.remaining
    }

    /// Takes the steps that are due, of Placements that changed and of those whose time has come. They are in the ledger
    /// before anything is changed.
    pub(super) fn regulate(&mut self, now: Now) -> Result<(), KernelError> {
        let steps = self.steps(now);
        let kept = steps.iter().filter_map(|(key, step)| self.to_keep(key, step));
        let entries: Vec<Entry> = kept.collect();
        self.record(&entries)?;
        self.take(steps, now);
        Ok(())
    }

    /// As [`Node::regulate`], without a word in the ledger: for those who only look.
    pub(super) fn regulate_unseen(&mut self, now: Now) {
        let steps = self.steps(now);
        self.take(steps, now);
    }

    fn steps(&mut self, now: Now) -> BTreeMap<PlacementKey, Step> {
        self.adopt(now.moment);
        let due = self.regime.due.iter().filter(|(_, at)| **at <= now.moment);
        let due = due.map(|(key, _)| key);
        let keys: BTreeSet<PlacementKey> = self.changed.keys().chain(due).cloned().collect();
        let mut steps = BTreeMap::new();
        for key in keys {
            let course = self.regime.courses.get(&key).cloned().unwrap_or_default();
            let counts = self.count(&course, now.moment);
            let step = self.view.placements.get(&key).map(|placed| {
                let circumstances = Circumstances {
                    now,
                    table: self.observed.ipvs.table(),
                    counts: &counts,
                };
                serving::step(&course, &placed.spec, &placed.down, circumstances)
            });
            self.regime.remaining.extend(counts);
            steps.insert(key, step.unwrap_or_default());
        }
        steps
    }

    fn count(&mut self, course: &Course, now: Moment) -> BTreeMap<Place, u64> {
        let places = serving::to_count(course, now, self.observed.ipvs.table());
        let services: BTreeSet<ServiceKey> = places.iter().map(|(key, _)| *key).collect();
        let mut counts = BTreeMap::new();
        for key in services {
            // What cannot be counted is not known to be zero.
            let activity = self.kernel.activity(key).unwrap_or_default().into_iter();
            let counted = activity.map(|(to, activity)| ((key, to), serving::connections(&key, activity)));
            counts.extend(counted.filter(|(place, _)| places.contains(place)));
        }
        counts
    }

    fn to_keep(&self, key: &PlacementKey, step: &Step) -> Option<Entry> {
        let known = self.ledger.courses.get(key);
        let kept = &step.course.kept;
        match known {
            Some(known) if known == kept => None,
            None if kept.is_empty() => None,
            Some(_) if kept.is_empty() => Some(Entry::NoCourse { placement: key.clone() }),
            Some(_) | None => Some(Entry::Course {
                placement: key.clone(),
                kept: kept.clone(),
            }),
        }
    }

    fn take(&mut self, steps: BTreeMap<PlacementKey, Step>, now: Now) {
        let mut over = BTreeSet::new();
        for (key, step) in steps {
            let Step {
                course,
                serving,
                next,
                cut,
            } = step;
            over.extend(cut);
            match next {
                Some(next) => self.regime.due.insert(key.clone(), next),
                None => self.regime.due.remove(&key),
            };
            let placed = self.view.placements.get_mut(&key);
            // Most have nothing to be known of: what goes over all courses goes over few.
            match course == Course::default() {
                true => self.regime.courses.remove(&key),
                false => self.regime.courses.insert(key.clone(), course),
            };
            if let Some(placed) = placed.filter(|placed| placed.serving != serving) {
                let former = placed.clone();
                placed.serving = serving;
                self.changed.entry(key).or_insert(Some(former));
            }
        }
        let courses = &self.regime.courses;
        let draining: BTreeSet<Place> = courses.values().flat_map(Course::places_draining).collect();
        self.regime.remaining.retain(|place, _| draining.contains(place));
        self.cut(&over, now.moment);
    }

    /// What an earlier agent of this boot has cut stays so for as long as IPVS knows it: nftables and IPVS remember that
    /// between them.
    fn adopt(&mut self, now: Moment) {
        let Some(table) = self.observed.nftables.table().filter(|_| !self.regime.is_adopted) else {
            return;
        };
        self.regime.is_adopted = true;
        let had = Ruleset::of(table).cut;
        if had.is_empty() {
            return;
        }
        let cut: BTreeMap<Cut, Moment> = match self.kernel.connections() {
            Ok(known) => {
                let known = known.iter().filter(|known| known.protocol == Protocol::Tcp);
                let known = known.map(|known| (cut_of(known), now.after(known.expires)));
                known.filter(|(cut, _)| had.contains(cut)).collect()
            }
            Err(_) => had.into_iter().map(|cut| (cut, now.after(UNKNOWN))).collect(),
        };
        self.regime.cut.extend(cut);
    }

    /// Resets what is left of drains that are over, and lets go of what IPVS has forgotten by now.
    fn cut(&mut self, over: &BTreeSet<Place>, now: Moment) {
        if self.regime.cut.values().any(|until| *until <= now) {
            self.regime.cut.retain(|_, until| *until > now.after(TIDY));
        }
        if !over.is_empty() {
            let connections = self.kernel.connections().unwrap_or_else(|error| {
                tracing::warn!(%error, "the connections of real servers that left cannot be listed: their clients time out");
                Vec::new()
            });
            let table = self.observed.ipvs.table();
            // Others have no word for it; IPVS lets go of these by itself, whatever they send.
            let of_tcp = connections
                .iter()
                .filter(|connection| connection.protocol == Protocol::Tcp);
            let left = of_tcp.filter(|connection| is_of(connection, over, table));
            // What the node itself sends, as its probes, comes by no rule that could reset it.
            let left = left.filter(|connection| !self.observed.facts.is_own(connection.client.ip()));
            let room = MOST_CUT.saturating_sub(self.regime.cut.len());
            let cut = left.take(room);
            let cut = cut.map(|connection| (cut_of(connection), now.after(connection.expires)));
            self.regime.cut.extend(cut);
        }
        // A node that is no director any more leaves nothing behind.
        let mut placements = self.view.placements.values();
        if !placements.any(|placed| placed.spec.director.is_some()) {
            self.regime.cut.clear();
        }
        let cut: BTreeSet<Cut> = self.regime.cut.keys().copied().collect();
        if cut != self.observed.facts.cut {
            self.observed.facts.cut = cut;
            // nftables changes, too: no pass over services alone will do.
            self.ground = None;
        }
    }
}

fn cut_of(connection: &Connection) -> Cut {
    let Connection {
        protocol: _,
        client,
        vip,
        destination: _,
        expires: _,
    } = *connection;
    Cut { client, vip }
}

/// Whether a connection is one of these destinations'. A mark is not on it: what no service of its address and port takes
/// came by one.
fn is_of(connection: &Connection, places: &BTreeSet<Place>, table: Option<&Table>) -> bool {
    let Connection {
        protocol,
        client: _,
        vip,
        destination,
        expires: _,
    } = *connection;
    let by_address = [vip.port(), 0].map(|port| ServiceKey::address(protocol, vip.ip(), port));
    let is_taken = || table.is_some_and(|table| by_address.iter().any(|key| table.services.contains_key(key)));
    places.iter().any(|(key, to)| {
        let goes_there = to.address == destination.address && [0, destination.port].contains(&to.port);
        goes_there
            && match key {
                ServiceKey::Address { .. } => by_address.contains(key),
                ServiceKey::FirewallMark { family, mark: _ } => *family == ipvs::Family::of(vip.ip()) && !is_taken(),
            }
    })
}
