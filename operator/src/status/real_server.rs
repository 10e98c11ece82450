//! The status of a RealServer: for each VirtualService that chose it, and the conjunction.

use super::service::{living_addresses, living_directors};
use super::{Statement, agent_lost, column, conditions, programmed, sorted, unreadable};
use crate::snapshot::{Key, StoredPlacement, StoredRealServer};
use crate::validate::{
    Family, Member, MemberRefusal, Refusal, Service, Standing, Validated, some_of, usable_addresses,
};
use crate::view::{HostFact, View, host_reports};
use crate::write::StatusWrite;
use crds::conditions::{ACCEPTED, PREPARED, READY, RESOLVED_REFS, Verdict, reason};
use crds::{ForwardingMethod, RealServerOfService, RealServerStatus, RealServerSummary};
use std::collections::{BTreeMap, BTreeSet};

/// As many services as the schema has room for.
const MOST_SERVICES: usize = 64;

/// Who chose whom: VirtualServices by RealServer.
type Choosers<'a> = BTreeMap<Key, Vec<(&'a Key, &'a Service)>>;

pub(super) fn all(view: &View<'_>, validated: &Validated) -> Vec<Statement> {
    let choosers = choosers(validated);
    let readable = view
        .snapshot
        .real_servers
        .values()
        .filter(|stored| !stored.meta.deleting);
    let readable = readable.map(|stored| {
        statement(
            view,
            stored,
            choosers.get(&stored.meta.key).map_or(&[][..], Vec::as_slice),
        )
    });
    let unread = view
        .snapshot
        .undecodable
        .real_servers
        .values()
        .filter(|stored| !stored.meta.deleting);
    let unread = unread.map(|stored| {
        let old = sorted(&stored.status.conditions);
        let new = RealServerStatus {
            observed_generation: Some(stored.meta.generation),
            conditions: unreadable(&old, &stored.error, stored.meta.generation, view.now),
            ..stored.status.clone()
        };
        let is_new = new.conditions != old || new.observed_generation != stored.status.observed_generation;
        Statement {
            kind: "RealServer",
            meta: stored.meta.clone(),
            new: new.conditions.clone(),
            write: is_new.then(|| StatusWrite::RealServer(stored.meta.key.clone(), Box::new(new))),
            old,
        }
    });
    readable.chain(unread).collect()
}

fn choosers(validated: &Validated) -> Choosers<'_> {
    let mut choosers = Choosers::new();
    let living = validated
        .services
        .iter()
        .filter(|(_, service)| service.standing != Standing::Withdraw);
    for (key, service) in living {
        let names: BTreeSet<&String> = service.members.keys().chain(service.refused.keys()).collect();
        for name in names {
            choosers
                .entry(Key::new(&key.namespace, name))
                .or_default()
                .push((key, service));
        }
    }
    choosers
}

fn statement(view: &View<'_>, stored: &StoredRealServer, chosen_by: &[(&Key, &Service)]) -> Statement {
    let old = RealServerStatus {
        conditions: sorted(&stored.status.conditions),
        virtual_services: sorted_services(&stored.status.virtual_services),
        ..stored.status.clone()
    };
    let new = status(view, stored, chosen_by, &old);
    Statement {
        kind: "RealServer",
        meta: stored.meta.clone(),
        new: new.conditions.clone(),
        write: (new != old).then(|| StatusWrite::RealServer(stored.meta.key.clone(), Box::new(new))),
        old: old.conditions,
    }
}

fn sorted_services(services: &[RealServerOfService]) -> Vec<RealServerOfService> {
    let each = services.iter().map(|service| RealServerOfService {
        name: service.name.clone(),
        conditions: sorted(&service.conditions),
    });
    let mut sorted: Vec<_> = each.collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted
}

/// Accepted and Prepared, for one service.
struct ForService<'a> {
    name: &'a str,
    accepted: Verdict,
    prepared: Verdict,
}

fn status(
    view: &View<'_>,
    stored: &StoredRealServer,
    chosen_by: &[(&Key, &Service)],
    old: &RealServerStatus,
) -> RealServerStatus {
    let generation = stored.meta.generation;
    let each = chosen_by
        .iter()
        .map(|(key, service)| for_service(view, stored, key, service));
    let each: Vec<ForService<'_>> = each.collect();
    let usable = usable_addresses(view.snapshot, stored);
    let (own, resolved_refs) = judged(&usable);
    let accepted = conjunction(own, each.iter().map(|one| (one.name, &one.accepted)));
    let prepared = prepared(stored, &each);
    let ready = ready(&accepted, &resolved_refs, &prepared, &each);
    let services = each.iter().take(MOST_SERVICES).map(|one| {
        let former = old.virtual_services.iter().find(|former| former.name == one.name);
        let former = former.map_or(&[][..], |former| &former.conditions);
        let verdicts = [(ACCEPTED, one.accepted.clone()), (PREPARED, one.prepared.clone())];
        RealServerOfService {
            name: one.name.to_owned(),
            conditions: crds::conditions::settle(former, verdicts, Some(generation), super::seconds(view.now)),
        }
    });
    let names: Vec<String> = each.iter().map(|one| one.name.to_owned()).collect();
    let given = stored.spec.addresses.clone();
    let verdicts = vec![
        (ACCEPTED, accepted),
        (RESOLVED_REFS, resolved_refs),
        (PREPARED, prepared),
        (READY, ready),
    ];
    RealServerStatus {
        observed_generation: Some(generation),
        virtual_services: services.collect(),
        summary: Some(RealServerSummary {
            addresses: given.or_else(|| usable.ok()).unwrap_or_default().join(","),
            virtual_services: column(&names),
        }),
        conditions: conditions(&old.conditions, verdicts, generation, view.now),
    }
}

/// Accepted and ResolvedRefs, as far as no service is concerned.
fn judged(usable: &Result<Vec<String>, MemberRefusal>) -> (Verdict, Verdict) {
    let accepted = || Verdict::yes(reason::OK, "the spec is valid");
    let resolved = || Verdict::yes(reason::OK, "everything that it names exists");
    match usable {
        Ok(_) => (accepted(), resolved()),
        Err(MemberRefusal::Accepted(refusal)) => (no(refusal), resolved()),
        Err(MemberRefusal::ResolvedRefs(refusal)) => (accepted(), no(refusal)),
    }
}

fn no(refusal: &Refusal) -> Verdict {
    Verdict::no(refusal.reason, refusal.message.clone())
}

const NO_NODE: &str = "no nodeName: this machine is prepared by other means";

/// Condition Prepared, for all services.
fn prepared(stored: &StoredRealServer, each: &[ForService<'_>]) -> Verdict {
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

fn for_service<'a>(view: &View<'_>, stored: &StoredRealServer, key: &'a Key, service: &Service) -> ForService<'a> {
    let name = &stored.meta.key.name;
    let vips = vips(view, key);
    let member = service.members.get(name);
    let accepted = match (service.refused.get(name), member) {
        (None, Some(member)) => Verdict::yes(reason::OK, format!("it is in this service{}", left_out(member, &vips))),
        (None, None) => Verdict::yes(reason::OK, "it is in this service"),
        (Some(MemberRefusal::Accepted(refusal)), _) => no(refusal),
        (Some(MemberRefusal::ResolvedRefs(refusal)), _) => Verdict::unknown(reason::PENDING, refusal.message.clone()),
    };
    let prepared = match (&stored.spec.node_name, member) {
        (None, _) => Verdict::yes(reason::NOT_REQUIRED, NO_NODE),
        (Some(node), Some(member)) => member_prepared(view, key, node, member, &vips),
        (Some(_), None) => Verdict::unknown(reason::PENDING, "it is not in this service"),
    };
    ForService {
        name: &key.name,
        accepted,
        prepared,
    }
}

/// The VIPs that directors have, or are to have.
fn vips<'a>(view: &View<'a>, service: &Key) -> BTreeSet<&'a str> {
    let directors = living_directors(view, service);
    directors.into_iter().flat_map(living_addresses).collect()
}

/// Of which VIPs it has no part, for want of an address of their family.
fn left_out(member: &Member, vips: &BTreeSet<&str>) -> String {
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

fn member_prepared(view: &View<'_>, service: &Key, node: &str, member: &Member, vips: &BTreeSet<&str>) -> Verdict {
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

/// `own` unless one of `others` is worse; the first that is, by name of its service.
fn conjunction<'a>(own: Verdict, others: impl Iterator<Item = (&'a str, &'a Verdict)>) -> Verdict {
    if !own.is_true() {
        return own;
    }
    let mut unknown = None;
    for (name, verdict) in others.filter(|(_, verdict)| !verdict.is_true()) {
        let message = format!("VirtualService {name}: {}", verdict.message);
        if verdict.status == "False" {
            return Verdict::no(verdict.reason, message);
        }
        unknown.get_or_insert(Verdict::unknown(verdict.reason, message));
    }
    unknown.unwrap_or(own)
}

fn ready(accepted: &Verdict, resolved_refs: &Verdict, prepared: &Verdict, each: &[ForService<'_>]) -> Verdict {
    if let Some(blocking) = [resolved_refs, accepted].into_iter().find(|verdict| !verdict.is_true()) {
        return blocking.clone();
    }
    if each.is_empty() {
        let message = "no VirtualService selects it: give it the labels of a realServerSelector";
        return Verdict::no(reason::NOT_SELECTED, message);
    }
    if !prepared.is_true() {
        return prepared.clone();
    }
    Verdict::yes(reason::OK, "it may take traffic")
}
