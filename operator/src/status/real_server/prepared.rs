//! How far the host of a real server is.

use super::super::service::{living_addresses, living_directors};
use super::super::{agent_lost, programmed};
use super::{ForService, conjunction};
use crate::snapshot::{Key, StoredPlacement, StoredRealServer};
use crate::validate::{Family, Member, some_of};
use crate::view::{HostFact, View, host_reports};
use crds::ForwardingMethod;
use crds::conditions::{Verdict, reason};
use std::collections::BTreeSet;

pub(super) const NO_NODE: &str = "no nodeName: this machine is prepared by other means";

/// Condition Prepared, for all services.
pub(super) fn prepared(stored: &StoredRealServer, each: &[ForService<'_>]) -> Verdict {
    let Some(node) = &stored.spec.node_name else {
        return Verdict::yes(reason::NOT_REQUIRED, NO_NODE);
    };
    let Some(first) = each.first() else {
        return Verdict::unknown(reason::NOT_SELECTED, "no VirtualService selects it");
    };
    let needs_nothing = |one: &ForService<'_>| one.prepared.is_true() && one.prepared.reason == reason::NOT_REQUIRED;
    let all = if each.iter().all(needs_nothing) {
        first.prepared.clone()
    } else {
        Verdict::yes(reason::OK, format!("{node} read back every VIP"))
    };
    conjunction(all, each.iter().map(|one| (one.name, &one.prepared)))
}

/// The VIPs that directors have, or are to have.
pub(super) fn vips<'a>(view: &View<'a>, service: &Key) -> BTreeSet<&'a str> {
    let directors = living_directors(view, service);
    directors.into_iter().flat_map(living_addresses).collect()
}

/// Of which VIPs it has no part, for want of an address of their family.
pub(super) fn left_out(member: &Member, vips: &BTreeSet<&str>) -> String {
    let missed: Vec<String> = vips
        .iter()
        .filter(|vip| !member.serves(vip))
        .map(|vip| (*vip).to_owned())
        .collect();
    match missed.first() {
        Some(first) => format!(
            ", but not for {}: it has no {} address",
            some_of(&missed),
            Family::of(first)
        ),
        None => String::new(),
    }
}

pub(super) fn member_prepared(
    view: &View<'_>,
    service: &Key,
    node: &str,
    member: &Member,
    vips: &BTreeSet<&str>,
) -> Verdict {
    let host = view.placement(service, node);
    match member.way.forwarding_method {
        ForwardingMethod::DR | ForwardingMethod::TUN => host_prepared(view, host, node, member, vips),
        ForwardingMethod::NAT => {
            let counts = host.filter(|host| view.counts(host) && view.is_fresh(node));
            match counts.and_then(|host| missing(host, member)) {
                Some(missing) => Verdict::no(reason::NO_RETURN_ROUTE, format!("{node}: {missing}")),
                None => Verdict::yes(reason::NOT_REQUIRED, "NAT needs a route back through the director only"),
            }
        }
        ForwardingMethod::FullNAT => Verdict::yes(reason::NOT_REQUIRED, "FullNAT needs nothing of the host"),
    }
}

/// What the host says is missing for this real server.
fn missing(host: &StoredPlacement, member: &Member) -> Option<String> {
    let said = host_reports(host, &member.guest());
    said.into_iter().find_map(|said| said.message.clone())
}

/// What is known of the host, for all VIPs that the real server has part of.
fn host_prepared(
    view: &View<'_>,
    host: Option<&StoredPlacement>,
    node: &str,
    member: &Member,
    vips: &BTreeSet<&str>,
) -> Verdict {
    if vips.is_empty() {
        return Verdict::unknown(reason::PENDING, "the service has no director yet");
    }
    let guest = member.guest();
    for vip in vips.iter().filter(|vip| member.serves(vip)) {
        match view.host_fact(node, host, &guest, vip) {
            HostFact::Prepared => {}
            HostFact::Unknown => return agent_lost(node),
            HostFact::Unprepared => {
                let counts = host.filter(|host| view.counts(host));
                let missing = counts.and_then(|host| missing(host, member));
                if let Some(missing) = missing {
                    return Verdict::no(reason::UNPREPARED, format!("{node}: {missing}"));
                }
                let said = counts.map(programmed);
                return match said.filter(|said| !said.is_true()) {
                    Some(said) => said,
                    None => Verdict::no(reason::UNPREPARED, format!("{node} has not read back {vip} yet")),
                };
            }
        }
    }
    let how = match member.way.forwarding_method {
        ForwardingMethod::TUN => "unwraps what directors send",
        ForwardingMethod::DR | ForwardingMethod::NAT | ForwardingMethod::FullNAT => "silent in ARP",
    };
    Verdict::yes(reason::OK, format!("{node} read back the VIPs, {how}"))
}
