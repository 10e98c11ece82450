//! Health checks of the node's directors: what is probed, and what the verdicts are worth for the Placements. Pure; the
//! probes themselves are made by [`crate::checker`].
//!
//! What asks the same of the same address is probed once, however many services share it. A verdict becomes part of what
//! is known of a Placement ([`crate::view::Placed::down`]), so that a failed check changes services as a changed spec does.

mod asked;
mod way;

pub use asked::Asked;
pub(crate) use asked::ways;
pub use way::{Steering, Way, Ways};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crds::{OnFailure, PlacementSpec};
use health::{Pace, Remembered, Verdict};

use crate::view::{Placed, PlacementKey};

/// Destinations that are down, by the RealServer's name, where packets are sent, and the VIP of whose services this is true;
/// `None` = of every one.
pub type Downs = BTreeMap<(String, SocketAddr, Option<IpAddr>), Down>;

/// What follows for a destination of a real server in the services of these VIPs, if it is down there. One service by
/// firewall mark is of several VIPs: it loses what any of them is not reached at.
pub(crate) fn on_failure(
    downs: &Downs,
    (name, destination): (&str, SocketAddr),
    vips: &BTreeSet<IpAddr>,
) -> Option<OnFailure> {
    if downs.is_empty() {
        return None;
    }
    let places = vips.iter().map(|vip| Some(*vip)).chain([None]);
    let downs = places.filter_map(|vip| downs.get(&(name.to_owned(), destination, vip)));
    downs.map(|down| down.on_failure).min()
}

/// Why a destination is down, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// For people.
    pub words: String,
    /// Whether a probe found that, and it is not only what is believed at first.
    pub tested: bool,
    /// Whether it leaves the table, or stays with weight 0.
    pub on_failure: OnFailure,
}

/// What is believed of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belief {
    /// Up or Down.
    pub verdict: Verdict,
    /// Why.
    pub words: String,
    /// Whether it rests on an attempt.
    pub tested: bool,
}

impl Belief {
    /// Of a check that is new: what it was before a restart; or down, when another check of a destination of it was, for an
    /// edit proves nothing; or up, when such a one `serves`: a check that was just written takes nobody out of service
    /// without evidence. Else what it says itself.
    pub fn at_first(remembered: Option<Remembered>, was_down: bool, serves: impl FnOnce() -> bool) -> Option<Self> {
        remembered.map(Self::from).or_else(|| match was_down {
            true => Some(Self::untested(Verdict::Down)),
            false => serves().then(|| Self::untested(Verdict::Up)),
        })
    }

    /// Before the first attempt.
    pub fn untested(verdict: Verdict) -> Self {
        Self {
            verdict,
            words: "not probed yet".to_owned(),
            tested: false,
        }
    }
}

impl From<Remembered> for Belief {
    fn from(remembered: Remembered) -> Self {
        Self {
            verdict: remembered.verdict,
            tested: remembered.is_tested(),
            words: remembered.words,
        }
    }
}

/// What the checker is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Probe this from now on, at this pace, which says also what is believed at first; or at another pace than before.
    Probe {
        /// What.
        asked: Asked,
        /// How often.
        pace: Pace,
    },
    /// Probe it no more, and forget about it.
    Leave {
        /// What.
        asked: Asked,
    },
    /// These ways are open, and no others.
    Open {
        /// All of them.
        ways: Ways,
        /// Of these, such as were not there until just now: what was sent there went elsewhere, and nobody is to blame.
        anew: BTreeSet<Way>,
    },
}

/// Who asks for which probes, and what is believed.
#[derive(Debug, Default)]
pub struct Checks {
    /// The pace that each Placement asks for.
    users: BTreeMap<Asked, BTreeMap<PlacementKey, Pace>>,
    /// What each Placement asks for.
    asks: BTreeMap<PlacementKey, BTreeSet<Asked>>,
    beliefs: BTreeMap<Asked, Belief>,
}

impl Checks {
    /// Takes what a Placement asks for now; `None` = it is gone. `known` says what is believed of a new check, asked of for
    /// these destinations; where it says nothing the check's initial state is.
    pub fn place(
        &mut self,
        key: &PlacementKey,
        spec: Option<&PlacementSpec>,
        mut known: impl FnMut(&Asked, &BTreeSet<SocketAddr>) -> Option<Belief>,
    ) -> Vec<Order> {
        let wanted = spec.map(asked::of_placement).unwrap_or_default();
        let now: BTreeSet<Asked> = wanted.keys().cloned().collect();
        let before = self.asks.remove(key).unwrap_or_default();
        let mut orders = Vec::new();
        for asked in before.difference(&now) {
            orders.extend(self.unask(key, asked));
        }
        for (asked, (pace, of)) in wanted {
            if !self.users.contains_key(&asked) {
                let belief = known(&asked, &of).unwrap_or_else(|| Belief::untested(pace.initial));
                self.beliefs.insert(asked.clone(), belief);
            }
            let former = self.pace(&asked);
            self.users.entry(asked.clone()).or_default().insert(key.clone(), pace);
            let pace = self.pace(&asked);
            if pace != former {
                orders.extend(pace.map(|pace| Order::Probe { asked, pace }));
            }
        }
        if !now.is_empty() {
            self.asks.insert(key.clone(), now);
        }
        orders
    }

    fn unask(&mut self, key: &PlacementKey, asked: &Asked) -> Option<Order> {
        let former = self.pace(asked);
        let users = self.users.get_mut(asked)?;
        users.remove(key);
        if users.is_empty() {
            self.users.remove(asked);
            self.beliefs.remove(asked);
            return Some(Order::Leave { asked: asked.clone() });
        }
        let pace = self.pace(asked)?;
        let asked = asked.clone();
        (Some(pace) != former).then_some(Order::Probe { asked, pace })
    }

    /// The pace of the one who waits least for a verdict. Its `initial` is what is believed.
    fn pace(&self, asked: &Asked) -> Option<Pace> {
        let paces = self.users.get(asked)?.values();
        let pace = paces.min_by_key(|pace| (pace.detection_bound(), pace.interval, pace.timeout))?;
        let initial = self.beliefs.get(asked).map_or(pace.initial, |belief| belief.verdict);
        Some(Pace { initial, ..*pace })
    }

    /// Takes what is believed from now on. Gives the Placements for which it matters.
    pub fn believe(&mut self, asked: &Asked, belief: Belief) -> BTreeSet<PlacementKey> {
        let Some(users) = self.users.get(asked) else {
            return BTreeSet::new();
        };
        let former = self.beliefs.insert(asked.clone(), belief.clone());
        match former == Some(belief) {
            true => BTreeSet::new(),
            false => users.keys().cloned().collect(),
        }
    }

    /// What the verdicts say of a Placement's destinations.
    pub fn judge(&self, placed: Placed) -> Placed {
        let asked::Findings { down, untested } = asked::findings(&placed.spec, |asked| self.beliefs.get(asked));
        Placed {
            down,
            untested,
            ..placed
        }
    }
}

#[cfg(test)]
mod tests;
