//! The status of a RealServer: for each VirtualService that chose it, and the conjunction.

mod duty;
mod prepared;

use super::service::living_directors;
use super::{Statement, agent_lost, column, conditions, sorted, unreadable};
use crate::snapshot::{Key, StoredRealServer};
use crate::validate::{Member, MemberRefusal, Refusal, Service, Standing, Validated, askable, usable_addresses};
use crate::view::{HealthFact, View};
use crate::write::StatusWrite;
use crds::conditions::{ACCEPTED, HEALTHY, PREPARED, READY, RESOLVED_REFS, Verdict, reason};
use crds::{RealServerOfService, RealServerStatus, RealServerSummary};
use duty::Duty;
use prepared::{NO_NODE, left_out, member_prepared, prepared, vips};
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

/// Accepted, Prepared and Healthy, for one service, and what it does there.
struct ForService<'a> {
    name: &'a str,
    accepted: Verdict,
    prepared: Verdict,
    healthy: Verdict,
    duty: Duty,
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
    // A service says the same of it, and whether it goes on.
    let alone = stored.spec.health_checks.as_deref().filter(|_| each.is_empty());
    let (own, resolved_refs) = judged(&usable, askable(alone));
    let accepted = conjunction(own, each.iter().map(|one| (one.name, &one.accepted)));
    let prepared = prepared(stored, &each);
    let healthy = healthy(&each);
    let ready = ready(stored, &accepted, &resolved_refs, [&prepared, &healthy], &each);
    let services = each.iter().take(MOST_SERVICES).map(|one| {
        let former = old.virtual_services.iter().find(|former| former.name == one.name);
        let former = former.map_or(&[][..], |former| &former.conditions);
        let verdicts = [
            (ACCEPTED, one.accepted.clone()),
            (PREPARED, one.prepared.clone()),
            (HEALTHY, one.healthy.clone()),
        ];
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
        (HEALTHY, healthy),
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
fn judged(usable: &Result<Vec<String>, MemberRefusal>, askable: Result<(), Refusal>) -> (Verdict, Verdict) {
    let accepted = || Verdict::yes(reason::OK, "the spec is valid");
    let resolved = || Verdict::yes(reason::OK, "everything that it names exists");
    match (usable, &askable) {
        (Ok(_), Ok(())) => (accepted(), resolved()),
        (Err(MemberRefusal::Accepted(refusal)), _) | (Ok(_), Err(refusal)) => (no(refusal), resolved()),
        (Err(MemberRefusal::ResolvedRefs(missing)), Ok(())) => (accepted(), no(missing)),
        (Err(MemberRefusal::ResolvedRefs(missing)), Err(refusal)) => (no(refusal), no(missing)),
    }
}

fn no(refusal: &Refusal) -> Verdict {
    Verdict::no(refusal.reason, refusal.message.clone())
}

/// Condition Healthy, for all services.
fn healthy(each: &[ForService<'_>]) -> Verdict {
    let Some(first) = each.first() else {
        return Verdict::unknown(reason::NOT_SELECTED, "no VirtualService selects it");
    };
    let of_probed = |one: &&ForService<'_>| one.healthy.reason != reason::NOT_REQUIRED;
    let own = each.iter().find(of_probed).unwrap_or(first).healthy.clone();
    let own = if own.is_true() {
        own
    } else {
        Verdict::yes(reason::OK, PASSES)
    };
    conjunction(own, each.iter().map(|one| (one.name, &one.healthy)))
}

const PASSES: &str = "every health check passes";

/// What the directors of a service say of a real server's health.
fn member_healthy(view: &View<'_>, service: &Key, member: &Member) -> Verdict {
    let directors = living_directors(view, service);
    let parts = directors.iter().filter_map(|director| director.spec.director.as_ref());
    let checks = parts.map(|part| part.health_checks.as_slice());
    if member.sorry {
        return Verdict::yes(reason::NOT_REQUIRED, "nothing is probed of a sorry server");
    }
    if checks.clone().all(|checks| !member.is_probed(checks)) && checks.clone().next().is_some() {
        return Verdict::yes(reason::NOT_REQUIRED, "nothing is probed");
    }
    if directors.is_empty() {
        return Verdict::unknown(reason::PENDING, "the service has no director yet");
    }
    let mut down = Vec::new();
    let mut unknown = None;
    for director in directors {
        let node = &director.spec.node_name;
        match view.health_fact(director, &member.name, &member.addresses) {
            HealthFact::Up => {}
            HealthFact::Down(words) => down.push(format!("{node}: {words}")),
            HealthFact::Pending { serves: _ } => {
                let pending = || Verdict::unknown(reason::PENDING, format!("{node} has not probed it yet"));
                unknown.get_or_insert_with(pending);
            }
            HealthFact::Unknown => {
                unknown.get_or_insert_with(|| agent_lost(node));
            }
        }
    }
    match (down.is_empty(), unknown) {
        // One director that sees it down is reason enough to look after it.
        (false, _) => Verdict::no(reason::UNHEALTHY, down.join("; ")),
        (true, Some(unknown)) => unknown,
        (true, None) => Verdict::yes(reason::OK, PASSES),
    }
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
    let healthy = match member {
        Some(member) => member_healthy(view, key, member),
        None => Verdict::unknown(reason::PENDING, "it is not in this service"),
    };
    ForService {
        name: &key.name,
        accepted,
        prepared,
        healthy,
        duty: Duty::of(view, key, member),
    }
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

fn ready(
    stored: &StoredRealServer,
    accepted: &Verdict,
    resolved_refs: &Verdict,
    serves: [&Verdict; 2],
    each: &[ForService<'_>],
) -> Verdict {
    if let Some(blocking) = [resolved_refs, accepted].into_iter().find(|verdict| !verdict.is_true()) {
        return blocking.clone();
    }
    if each.is_empty() {
        let message = "no VirtualService selects it: give it the labels of a realServerSelector";
        return Verdict::no(reason::NOT_SELECTED, message);
    }
    let duties = || each.iter().map(|one| (one.name, one.duty));
    if stored.spec.cordoned {
        return Verdict::no(reason::CORDONED, duty::cordoned(duties()));
    }
    if let Some(blocking) = serves.into_iter().find(|verdict| !verdict.is_true()) {
        return blocking.clone();
    }
    Verdict::yes(reason::OK, duty::on_call(duties()))
}
