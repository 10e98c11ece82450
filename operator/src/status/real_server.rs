//! The status of a RealServer: for each VirtualService that chose it, and the conjunction.

use super::service::{living_addresses, living_directors};
use super::{Statement, agent_lost, column, conditions, programmed, sorted, unreadable};
use crate::snapshot::{Key, StoredRealServer};
use crate::validate::{MemberRefusal, Refusal, Service, Standing, Validated, usable_addresses};
use crate::view::{HostFact, View};
use crate::write::StatusWrite;
use crds::conditions::{ACCEPTED, PREPARED, READY, RESOLVED_REFS, Verdict, reason};
use crds::{RealServerOfService, RealServerStatus, RealServerSummary};
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
    let prepared = match (&stored.spec.node_name, each.is_empty()) {
        (None, _) => not_required(),
        (Some(_), true) => Verdict::unknown(reason::NOT_SELECTED, "no VirtualService selects it"),
        (Some(node), false) => {
            let all = Verdict::yes(reason::OK, format!("{node} read back every VIP"));
            conjunction(all, each.iter().map(|one| (one.name, &one.prepared)))
        }
    };
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

fn not_required() -> Verdict {
    Verdict::yes(
        reason::NOT_REQUIRED,
        "no nodeName: this machine is prepared by other means",
    )
}

fn for_service<'a>(view: &View<'_>, stored: &StoredRealServer, key: &'a Key, service: &Service) -> ForService<'a> {
    let accepted = match service.refused.get(&stored.meta.key.name) {
        None => Verdict::yes(reason::OK, "it is in this service"),
        Some(MemberRefusal::Accepted(refusal)) => no(refusal),
        Some(MemberRefusal::ResolvedRefs(refusal)) => Verdict::unknown(reason::PENDING, refusal.message.clone()),
    };
    let prepared = match &stored.spec.node_name {
        None => not_required(),
        Some(_) if !accepted.is_true() => Verdict::unknown(reason::PENDING, "it is not in this service"),
        Some(node) => host_prepared(view, key, node),
    };
    ForService {
        name: &key.name,
        accepted,
        prepared,
    }
}

/// What is known of the host, for all VIPs of the service.
fn host_prepared(view: &View<'_>, service: &Key, node: &str) -> Verdict {
    let directors = living_directors(view, service);
    let vips: BTreeSet<&str> = directors
        .iter()
        .flat_map(|director| living_addresses(director))
        .collect();
    if vips.is_empty() {
        return Verdict::unknown(reason::PENDING, "the service has no director yet");
    }
    let host = view.placement(service, node);
    for vip in vips {
        match view.host_fact(node, host, vip) {
            HostFact::Prepared => {}
            HostFact::Unknown => return agent_lost(node),
            HostFact::Unprepared => {
                let said = host.filter(|host| view.counts(host)).map(programmed);
                return match said.filter(|said| !said.is_true()) {
                    Some(said) => said,
                    None => Verdict::no(reason::UNPREPARED, format!("{node} has not read back {vip} yet")),
                };
            }
        }
    }
    Verdict::yes(reason::OK, format!("{node} read back the VIPs, silent in ARP"))
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
