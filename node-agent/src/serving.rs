//! Who of a director's real servers serves, and with which weight, while they come and go. Pure: time, the table and counts
//! of connections are arguments.
//!
//! ```text
//!  spec, verdicts ─► wanted in ─► quorum ─► real servers or sorry server ─┬─► in: slow start's weights
//!                                                                         └─► not in: drained, then out
//! ```
//!
//! Each IPVS service is judged by itself, as keepalived judges a `virtual_server`. What must outlive the process is a
//! [`Course`], which the ledger keeps; what follows for the table is a [`Serving`], which is known of a Placement as its
//! verdicts are, so that a drain that ends changes services as a changed spec does.

mod course;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{DirectorPart, PlacementSpec};
use health::Moment;
use ipvs::{Activity, DestinationKey, Protocol, ServiceKey, Table};
use jiff::Timestamp;

pub use course::{Course, Kept};

use crate::checks::Downs;
use crate::desired::keys;

/// A destination of a service.
pub type Place = (ServiceKey, DestinationKey);

/// What becomes of a destination that does not serve as the spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It serves with another weight: one of its service grows to its own, and all are scaled.
    Scaled(u32),
    /// It keeps its connections, at weight 0.
    Draining,
    /// It is not in the table.
    Out,
}

/// What is made of a Placement's destinations at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Those that do not serve as the spec says.
    pub fates: BTreeMap<Place, Fate>,
    /// Real servers that drain, and when the last of it is cut.
    pub drains: BTreeMap<String, Timestamp>,
    /// Real servers whose weight grows.
    pub rising: BTreeSet<String>,
    /// Real servers that are out because the sorry server serves, or the sorry server while it does not.
    pub standing_by: BTreeSet<String>,
    /// Whether a service has lost its quorum.
    pub below_quorum: bool,
}

/// The time, by both clocks: what has to last by the one that nobody sets, what people read by the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Since boot.
    pub moment: Moment,
    /// By the wall.
    pub clock: Timestamp,
}

/// What a step goes by.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// When.
    pub now: Now,
    /// The table as it was read; `None` while it is not known.
    pub table: Option<&'a Table>,
    /// The connections of draining destinations, see [`to_count`]. What is not in it could not be counted.
    pub counts: &'a BTreeMap<Place, u64>,
}

/// What a step comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What has to be known for the next one.
    pub course: Course,
    /// What becomes of the destinations.
    pub serving: Serving,
    /// When something changes without anybody's doing.
    pub next: Option<Moment>,
    /// Destinations whose drain is over with connections left, or not known to be gone: these are to be reset.
    pub cut: BTreeSet<Place>,
}

/// The next step of a Placement's destinations. At the same time, under the same circumstances, it comes to the same.
pub fn step(former: &Course, spec: &PlacementSpec, down: &Downs, circumstances: Circumstances<'_>) -> Step {
    let Some(part) = &spec.director else {
        return Step::default();
    };
    let mut judge = service::Judge::new(part, down, former, circumstances);
    for (key, (placed, vips)) in services(part) {
        judge.service(key, placed, &vips);
    }
    judge.step()
}

/// The part's services, each with the VIPs that it serves, without those that are being withdrawn. Of two that are one in
/// the kernel the first counts, as it does in what is desired.
fn services(part: &DirectorPart) -> BTreeMap<ServiceKey, (&crds::PlacedService, BTreeSet<IpAddr>)> {
    let entries = part.addresses.iter().filter(|entry| !entry.withdraw);
    let vips: BTreeSet<IpAddr> = entries.filter_map(|entry| entry.address.parse().ok()).collect();
    let mut services = BTreeMap::new();
    for placed in &part.services {
        for (key, of) in keys(placed, vips.iter().copied()) {
            services.entry(key).or_insert((placed, of));
        }
    }
    services
}

/// Whose connections are to be counted before the next step: of what drains, and is in the table at weight 0 since long
/// enough for every handshake of before to be over.
pub fn to_count(course: &Course, now: Moment, table: Option<&Table>) -> BTreeSet<Place> {
    let is_quiet = |(key, to): &Place| {
        let service = table.and_then(|table| table.services.get(key));
        let destination = service.and_then(|service| service.destinations.get(to));
        destination.is_some_and(|config| config.weight == 0)
    };
    let draining = course.draining().filter(|(_, drain)| drain.is_countable(now));
    draining
        .map(|(place, _)| *place)
        .filter(|place| is_quiet(place))
        .collect()
}

/// The connections of a destination that are worth waiting for. Closed ones of TCP and SCTP are known for minutes still; UDP
/// knows no others than inactive ones (F8), and of a mark it is not known what they are.
pub fn connections(key: &ServiceKey, activity: Activity) -> u64 {
    let all = u64::from(activity.connections());
    match key {
        ServiceKey::Address {
            protocol: Protocol::Tcp | Protocol::Sctp,
            ..
        } => activity.active.into(),
        ServiceKey::Address {
            protocol: Protocol::Udp | Protocol::Other(_),
            ..
        }
        | ServiceKey::FirewallMark { .. } => all,
    }
}
