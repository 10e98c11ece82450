//! What a change of few Placements changes of what is desired, without a look at all the others.
//!
//! Most changes are of this kind: a weight, a real server that comes or goes. On a director of ten thousand services the
//! whole state takes a tenth of a second to derive; the services of one Placement, some microseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::net::IpAddr;

use ipvs::{Service, ServiceKey};

use super::{Desired, Problem, director};
use crate::checks;
use crate::state::{Facts, KernelState};
use crate::view::Placed;

/// Services that are desired otherwise than before; `None` = no more.
pub type ServiceChange = BTreeMap<ServiceKey, Option<Service>>;

/// What becomes of the services when one Placement changes from `former` to `now`; `None` when more than services may
/// change, and everything is to be derived anew. `hosted` as in [`super::hosted`].
///
/// # Guarantees
/// When `known` has no problems, `known` with these services is what [`super::desired`] gives for all Placements.
pub fn service_change(
    former: &Placed,
    now: &Placed,
    known: &Desired,
    hosted: &BTreeSet<IpAddr>,
    facts: &Facts,
) -> Option<ServiceChange> {
    let (before, after) = (&former.spec, &now.spec);
    let others = (&before.real_server, &before.virtual_router) == (&after.real_server, &after.virtual_router);
    if !others || !known.problems.is_empty() {
        return None;
    }
    // A way is of all Placements that go by it.
    if checks::ways(before) != checks::ways(after) {
        return None;
    }
    let (mut before, _) = of_director(former, facts, hosted);
    let (mut after, problems) = of_director(now, facts, hosted);
    let services = (take(&mut before.ipvs.services), take(&mut after.ipvs.services));
    // What is left is everything beside the services.
    if !problems.is_empty() || before != after {
        return None;
    }
    let had = &known.state.ipvs.services;
    let (before, mut after) = services;
    // A service that another Placement has is nobody's to change from here.
    if after
        .keys()
        .any(|key| !before.contains_key(key) && had.contains_key(key))
    {
        return None;
    }
    let mut change = ServiceChange::new();
    for (key, service) in before {
        let becomes = after.remove(&key);
        if becomes.as_ref() != Some(&service) {
            change.insert(key, becomes);
        }
    }
    change.extend(after.into_iter().map(|(key, service)| (key, Some(service))));
    Some(change)
}

fn of_director(placed: &Placed, facts: &Facts, hosted: &BTreeSet<IpAddr>) -> (KernelState, Vec<Problem>) {
    let mut state = KernelState::default();
    let part = placed.spec.director.as_ref();
    let problems = part.map(|part| director::add(&mut state, part, &placed.serving, facts, hosted));
    (state, problems.unwrap_or_default())
}

impl Desired {
    /// Takes over a change of services.
    pub fn change(&mut self, change: &ServiceChange) {
        for (key, service) in change {
            match service {
                Some(service) => self.state.ipvs.services.insert(*key, service.clone()),
                None => self.state.ipvs.services.remove(key),
            };
        }
    }
}

#[cfg(test)]
mod tests;
