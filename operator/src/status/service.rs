//! The status of a VirtualService.

mod serving;
mod understaffed;
mod warnings;

use super::{Statement, conditions, reported, sorted};
use crate::place::Placed;
use crate::snapshot::{Key, Meta, StoredPlacement};
use crate::validate::{Directors, Service, Standing, Validated, protocol, some_of};
use crate::view::{View, living_entries};
use crate::write::StatusWrite;
use crds::conditions::{
    ACCEPTED, BLOCKED_BY_FIREWALL, PROGRAMMED, READY, RESOLVED_REFS, SOURCE_PORTS_LOW, Verdict, find, reason,
};
use crds::{
    AddressOwner, AddressStatus, Director, RealServerCounts, Role, VirtualServiceSpec, VirtualServiceStatus,
    VirtualServiceSummary,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::collections::{BTreeMap, BTreeSet};

/// One VirtualService and all that its status depends on.
struct Looked<'a> {
    view: &'a View<'a>,
    validated: &'a Validated,
    placed: &'a Placed,
    meta: &'a Meta,
    /// Nothing when it cannot be read.
    spec: Option<&'a VirtualServiceSpec>,
    old: &'a VirtualServiceStatus,
    service: &'a Service,
    /// The Placements with a director part that is to stay.
    directors: Vec<&'a StoredPlacement>,
}

pub(super) fn all(view: &View<'_>, validated: &Validated, placed: &Placed) -> Vec<Statement> {
    let readable = view.snapshot.virtual_services.values();
    let readable = readable.map(|stored| (&stored.meta, Some(&stored.spec), &stored.status));
    let unreadable = view.snapshot.undecodable.virtual_services.values();
    let unreadable = unreadable.map(|stored| (&stored.meta, None, &stored.status));
    // What is being deleted is not told any more.
    let living = readable.chain(unreadable).filter(|(meta, ..)| !meta.deleting);
    let statements = living.filter_map(|(meta, spec, old)| {
        let looked = Looked {
            view,
            validated,
            placed,
            meta,
            spec,
            old,
            service: validated.services.get(&meta.key)?,
            directors: living_directors(view, &meta.key),
        };
        Some(looked.statement())
    });
    statements.collect()
}

/// The Placements of a service with a VIP that is not being withdrawn.
pub(super) fn living_directors<'a>(view: &View<'a>, subject: &Key) -> Vec<&'a StoredPlacement> {
    let placements = view.placements(subject).iter().copied();
    placements
        .filter(|placement| living_addresses(placement).next().is_some())
        .collect()
}

/// The VIPs of a director part that are not being withdrawn.
pub(super) fn living_addresses(placement: &StoredPlacement) -> impl Iterator<Item = &str> {
    living_entries(placement).map(|entry| entry.address.as_str())
}

/// What a director does, as far as its report counts.
pub(super) fn role(view: &View<'_>, placement: &StoredPlacement) -> Role {
    if !view.is_fresh(&placement.spec.node_name) || !view.counts(placement) {
        return Role::Unknown;
    }
    let report = placement.status.director.iter().flat_map(|report| &report.addresses);
    let roles: BTreeSet<Role> = report.map(|entry| entry.role).collect();
    if roles.contains(&Role::Active) {
        Role::Active
    } else {
        Role::Backup
    }
}

impl Looked<'_> {
    fn statement(&self) -> Statement {
        let new = self.status();
        let old = VirtualServiceStatus {
            conditions: sorted(&self.old.conditions),
            directors: by_node(self.old.directors.clone()),
            ..self.old.clone()
        };
        let key = self.meta.key.clone();
        Statement {
            kind: "VirtualService",
            meta: self.meta.clone(),
            new: new.conditions.clone(),
            write: (new != old).then(|| StatusWrite::VirtualService(key, Box::new(new))),
            old: old.conditions,
        }
    }

    fn status(&self) -> VirtualServiceStatus {
        let programmed = self.programmed();
        let holders = self.holders();
        let ready = self.ready(&programmed, &holders);
        let mut verdicts = vec![
            (ACCEPTED, self.service.accepted.clone()),
            (RESOLVED_REFS, self.service.resolved_refs.clone()),
            (PROGRAMMED, programmed),
            (READY, ready),
        ];
        verdicts.extend(self.warnings());
        let directors = self.directors.iter().map(|placement| Director {
            node_name: placement.spec.node_name.clone(),
            role: role(self.view, placement),
            conditions: obstacles(self.view, placement),
        });
        let addresses = holders.iter().map(|(address, nodes)| AddressStatus {
            address: address.clone(),
            node_name: nodes.first().map(|node| (*node).to_owned()),
        });
        VirtualServiceStatus {
            observed_generation: Some(self.meta.generation),
            addresses: addresses.collect(),
            directors: by_node(directors.collect()),
            real_servers: Some(RealServerCounts {
                matched: count(self.ordinary().count()),
                prepared: count(self.prepared().len()),
                healthy: count(self.healthy().len()),
            }),
            summary: Some(self.summary(&holders)),
            conditions: conditions(&self.old.conditions, verdicts, self.meta.generation, self.view.now),
        }
    }

    /// Every VIP, and who says that it holds it, the fresher Lease first.
    fn holders(&self) -> BTreeMap<String, Vec<&str>> {
        let placed = self
            .directors
            .iter()
            .flat_map(|placement| living_addresses(placement))
            .map(str::to_owned);
        let mut vips: BTreeSet<String> = placed.collect();
        if vips.is_empty() {
            vips.extend(
                self.spec
                    .iter()
                    .flat_map(|spec| &spec.addresses)
                    .map(|entry| entry.address.clone()),
            );
        }
        vips.into_iter()
            .map(|vip| (vip.clone(), self.holders_of(&vip)))
            .collect()
    }

    fn holders_of(&self, vip: &str) -> Vec<&str> {
        let all = self.view.placements(&self.meta.key).iter();
        let active = all.filter(|placement| {
            let mut report = placement.status.director.iter().flat_map(|report| &report.addresses);
            role(self.view, placement) == Role::Active
                && report.any(|entry| entry.address == vip && entry.role == Role::Active)
        });
        let mut nodes: Vec<&str> = active.map(|placement| placement.spec.node_name.as_str()).collect();
        nodes.sort_by_key(|node| (std::cmp::Reverse(self.view.renewed(node)), *node));
        nodes
    }

    fn programmed(&self) -> Verdict {
        if let Some(wait) = self.placed.waits.get(&self.meta.key) {
            return Verdict::no(reason::PENDING, format!("{wait}; it is placed then"));
        }
        if self.directors.is_empty() {
            return Verdict::no(reason::PENDING, self.why_unplaced());
        }
        for placement in &self.directors {
            let verdict = self.director_programmed(placement);
            if !verdict.is_true() {
                return verdict;
            }
        }
        let nodes: Vec<String> = self
            .directors
            .iter()
            .map(|placement| placement.spec.node_name.clone())
            .collect();
        Verdict::yes(reason::OK, format!("read back on {}", some_of(&nodes)))
    }

    fn director_programmed(&self, placement: &StoredPlacement) -> Verdict {
        let node = &placement.spec.node_name;
        let verdict = reported(self.view, self.placed, placement);
        if !verdict.is_true() {
            return verdict;
        }
        match living_entries(placement).find(|entry| entry.address_owner == AddressOwner::Reserved) {
            Some(entry) => {
                let message = format!(
                    "{node} waits until no other node has {}: see its Placements",
                    entry.address
                );
                Verdict::no(reason::PENDING, message)
            }
            None => verdict,
        }
    }

    fn why_unplaced(&self) -> String {
        let group = match &self.service.standing {
            Standing::Serve(content) => self.validated.groups.get(&content.group).map(|group| (content, group)),
            Standing::Keep { .. } => return "nothing of it was ever accepted".to_owned(),
            Standing::Withdraw => return "it was withdrawn".to_owned(),
        };
        match group {
            Some((content, group)) if content.directors == Directors::AsPlaced => {
                format!("DirectorGroup {}: {}", group.name, group.accepted.message)
            }
            Some(_) | None => "it is being placed".to_owned(),
        }
    }

    fn ready(&self, programmed: &Verdict, holders: &BTreeMap<String, Vec<&str>>) -> Verdict {
        let first = [&self.service.accepted, &self.service.resolved_refs, programmed];
        if let Some(blocking) = first.into_iter().find(|verdict| !verdict.is_true()) {
            return blocking.clone();
        }
        for (vip, nodes) in holders {
            match nodes.as_slice() {
                [] => {
                    let message = format!("no live director says that it holds {vip}");
                    return Verdict::no(reason::NO_ACTIVE_DIRECTOR, message);
                }
                [_] => {}
                [_, _, ..] => {
                    let message = format!("{} all hold {vip}: switch off all but one", nodes.join(" and "));
                    return Verdict::no(reason::DUAL_ACTIVE, message);
                }
            }
        }
        self.serving(holders.keys())
    }

    fn summary(&self, holders: &BTreeMap<String, Vec<&str>>) -> VirtualServiceSummary {
        let former = || self.old.summary.as_ref().map(|summary| summary.ports.clone());
        let nodes: BTreeSet<&str> = self
            .directors
            .iter()
            .map(|placement| placement.spec.node_name.as_str())
            .collect();
        VirtualServiceSummary {
            addresses: holders.keys().cloned().collect::<Vec<_>>().join(","),
            ports: self.spec.map(ports).or_else(former).unwrap_or_default(),
            real_servers: format!("{}/{}", self.prepared().len(), self.ordinary().count()),
            directors: nodes.into_iter().collect::<Vec<_>>().join(","),
        }
    }
}

/// "80/TCP,443/TCP", or "mark 10".
fn ports(spec: &VirtualServiceSpec) -> String {
    if let Some(mark) = spec.firewall_mark {
        return format!("mark {mark}");
    }
    let ports = spec.ports.iter().flatten().map(|port| match port.port {
        0 => format!("all/{}", protocol(port).as_str()),
        number => format!("{number}/{}", protocol(port).as_str()),
    });
    ports.collect::<Vec<_>>().join(",")
}

/// What the director's agent says is in the way.
fn obstacles(view: &View<'_>, placement: &StoredPlacement) -> Vec<Condition> {
    let is_told = view.is_fresh(&placement.spec.node_name) && view.counts(placement);
    let said = [BLOCKED_BY_FIREWALL, SOURCE_PORTS_LOW].into_iter();
    let said = said.filter_map(|type_| find(&placement.status.conditions, type_));
    said.filter(|said| is_told && said.status == "True").cloned().collect()
}

fn by_node(mut directors: Vec<Director>) -> Vec<Director> {
    directors.sort_by(|a, b| a.node_name.cmp(&b.node_name));
    directors
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
