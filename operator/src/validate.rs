//! What may be placed, and what is refused with which words. Pure; every rule that needs more than one object is here.
//!
//! Nothing that is refused disturbs what serves. Refused for its content or a claim: the last accepted state, which is
//! what the Placements hold, goes on. Permission withdrawn by the administrator: withdrawn. The subject gone: withdrawn.

mod addresses;
mod availability;
mod checks;
mod chosen;
mod claims;
mod content;
mod group;
mod held;
mod marks;
mod members;
mod sorry;
mod terms;
#[cfg(test)]
mod tests;
mod tunnels;
mod ways;

pub use availability::Availability;
pub use group::{Group, Shared};
pub use held::{ClaimKey, Family, Held, Scopes};
pub use members::{Member, MemberRefusal};

pub(crate) use checks::askable;
pub(crate) use content::{protocol, some_of};
pub(crate) use held::{group_of, ports_of};
pub(crate) use members::{overlap, usable_addresses};
pub(crate) use ways::{destination_port, serves, way_of, way_of_guest, ways_agree};

use crate::snapshot::{Key, StoredVirtualService};
use crate::view::View;
use crds::conditions::{Verdict, reason};
use crds::{ForwardingMethod, PlacedService, Tunnel};
use std::collections::{BTreeMap, BTreeSet};

/// The outcome for everything.
#[derive(Debug, Default)]
pub struct Validated {
    /// Every VirtualService that exists, by key.
    pub services: BTreeMap<Key, Service>,
    /// Every DirectorGroup that could be read, by name.
    pub groups: BTreeMap<String, Group>,
}

/// The outcome for one VirtualService.
#[derive(Debug)]
pub struct Service {
    /// What place is to do with it.
    pub standing: Standing,
    /// Condition Accepted.
    pub accepted: Verdict,
    /// Condition ResolvedRefs.
    pub resolved_refs: Verdict,
    /// The real servers that may serve, by name.
    pub members: BTreeMap<String, Member>,
    /// The real servers whose specs may not serve, by name. One that goes on as it is placed is among the members, too.
    pub refused: BTreeMap<String, MemberRefusal>,
    /// The RealServer that is its sorry server, member or refused.
    pub sorry: Option<String>,
}

/// What is to become of a VirtualService's Placements.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Place this.
    Serve(Content),
    /// The last accepted state goes on: addresses and services stay as placed, less the VIPs that are now forbidden.
    Keep {
        /// VIPs for which permission was withdrawn.
        forbidden: BTreeSet<String>,
    },
    /// Take everything back.
    Withdraw,
}

/// What an accepted VirtualService asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The DirectorGroup that permits it.
    pub group: String,
    /// Where the VIPs go.
    pub directors: Directors,
    /// The interface that carries the VIPs.
    pub interface: Option<String>,
    /// The VIPs.
    pub addresses: Vec<String>,
    /// The services on every VIP.
    pub services: Vec<PlacedService>,
    /// How packets reach the real servers that do not say otherwise.
    pub forwarding_method: ForwardingMethod,
    /// How TUN wraps them.
    pub tunnel: Option<Tunnel>,
    /// Checks, quorum, drain and slow start.
    pub availability: Availability,
    /// The RealServer that is its sorry server.
    pub sorry: Option<String>,
}

/// Which nodes are directors of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directors {
    /// This one.
    Node(String),
    /// The group cannot say: those that are it already, and no new one.
    AsPlaced,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition's reason.
    pub reason: &'static str,
    /// What is wrong, and what to change.
    pub message: String,
}

impl Refusal {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What every VirtualService is judged by.
struct Court<'a> {
    view: &'a View<'a>,
    groups: &'a BTreeMap<String, Group>,
    held: &'a BTreeMap<Key, Held>,
    marks: &'a BTreeMap<Key, i64>,
}

/// Judges everything.
pub fn validate(view: &View<'_>) -> Validated {
    let groups = group::all(view);
    let scopes = claims::scopes(view, &groups);
    let held = held::all(view, &scopes);
    let court = Court {
        view,
        groups: &groups,
        held: &held,
        marks: &marks::allocate(view),
    };
    let mut services = BTreeMap::new();
    for (key, stored) in &view.snapshot.virtual_services {
        let service = if stored.meta.deleting {
            Service::going()
        } else {
            court.judge(stored)
        };
        services.insert(key.clone(), service);
    }
    for (key, stored) in &view.snapshot.undecodable.virtual_services {
        let service = if stored.meta.deleting {
            Service::going()
        } else {
            court.unreadable(key, &stored.error)
        };
        services.insert(key.clone(), service);
    }
    let mut validated = Validated { services, groups };
    claims::settle(view, &held, &scopes, &mut validated);
    tunnels::settle(view, &mut validated);
    validated
}

impl Court<'_> {
    fn judge(&self, stored: &StoredVirtualService) -> Service {
        let Self {
            view,
            groups,
            held,
            marks,
        } = self;
        let spec = &stored.spec;
        let key = &stored.meta.key;
        let held = held.get(key);
        let sorry = sorry::named(view, key, spec.sorry_server.as_ref());
        let chosen = chosen::select(view, &key.namespace, &spec.real_server_selector, sorry.name);
        let (accepted, resolved_refs, standing) = match group::find(view, groups, &spec.director_group_name) {
            Err(missing) => {
                let unjudged = Verdict::unknown(reason::PENDING, "cannot be judged without its DirectorGroup");
                let standing = Service::keep(key, groups, held, view);
                (unjudged, refused(missing, held, &standing), standing)
            }
            Ok(group) => {
                let found = match sorry.missing {
                    None => Verdict::yes(reason::OK, format!("DirectorGroup {} exists", group.name)),
                    Some(missing) => Verdict::no(missing.reason, missing.message),
                };
                match content::accept(view, group, stored, held, marks, sorry.name)
                    .and_then(|content| chosen.count_allowed().map(|()| content))
                {
                    Ok(content) => (accepted_words(), found, Standing::Serve(content)),
                    Err(refusal) => {
                        let standing = Service::keep(key, groups, held, view);
                        (refused(refusal, held, &standing), found, standing)
                    }
                }
            }
        };
        let (members, refused) = match &standing {
            Standing::Serve(content) => members::resolve(view, key, chosen, &terms::Terms::of(content)),
            Standing::Keep { .. } | Standing::Withdraw => members::kept(view, key),
        };
        let sorry = match &standing {
            Standing::Serve(content) => content.sorry.clone(),
            Standing::Keep { .. } | Standing::Withdraw => sorry::placed(view, key).map(str::to_owned),
        };
        Service {
            standing,
            accepted,
            resolved_refs,
            members,
            refused,
            sorry,
        }
    }

    fn unreadable(&self, key: &Key, error: &str) -> Service {
        let held = self.held.get(key);
        let (members, refused_members) = members::kept(self.view, key);
        let standing = Service::keep(key, self.groups, held, self.view);
        Service {
            accepted: refused(unreadable_refusal(error), held, &standing),
            standing,
            resolved_refs: Verdict::unknown(reason::PENDING, "cannot be judged: the object cannot be read"),
            members,
            refused: refused_members,
            sorry: sorry::placed(self.view, key).map(str::to_owned),
        }
    }
}

/// The words for an object that this operator cannot read.
pub fn unreadable_refusal(error: &str) -> Refusal {
    let message = format!("{error}: this operator does not know it; upgrade lvs-operator or change the field");
    Refusal::new(reason::INVALID, message)
}

/// What is said when a refusal disturbs nothing.
const STILL_SERVES: &str = " (the last accepted spec still serves)";

/// The verdict of a refusal; it says when something goes on all the same.
fn refused(refusal: Refusal, held: Option<&Held>, standing: &Standing) -> Verdict {
    let serves = |held: &Held| match standing {
        Standing::Keep { forbidden } => !held.addresses.is_subset(forbidden),
        Standing::Serve(_) | Standing::Withdraw => false,
    };
    let goes_on = if held.is_some_and(serves) { STILL_SERVES } else { "" };
    Verdict::no(refusal.reason, format!("{}{goes_on}", refusal.message))
}

fn accepted_words() -> Verdict {
    Verdict::yes(reason::OK, "the spec is valid and its claims are held")
}

impl Service {
    fn going() -> Self {
        Self {
            standing: Standing::Withdraw,
            accepted: Verdict::no(reason::PENDING, "is being deleted"),
            resolved_refs: Verdict::unknown(reason::PENDING, "is being deleted"),
            members: BTreeMap::new(),
            refused: BTreeMap::new(),
            sorry: None,
        }
    }

    /// The last accepted state, judged by the permission under which it was placed.
    fn keep(key: &Key, groups: &BTreeMap<String, Group>, held: Option<&Held>, view: &View<'_>) -> Standing {
        let Some(held) = held else {
            return Standing::Keep {
                forbidden: BTreeSet::new(),
            };
        };
        let group = held.group.as_ref().and_then(|name| groups.get(name));
        let forbidden = |address: &&String| group.is_some_and(|group| group.forbids(view, &key.namespace, address));
        Standing::Keep {
            forbidden: held.addresses.iter().filter(forbidden).cloned().collect(),
        }
    }
}
