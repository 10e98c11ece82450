//! The status of a DirectorGroup.

use super::{Statement, column, conditions, reported, sorted, unreadable};
use crate::place::Placed;
use crate::snapshot::StoredDirectorGroup;
use crate::validate::{Group, Validated, group_of};
use crate::view::View;
use crate::write::StatusWrite;
use crds::conditions::{ACCEPTED, READY, Verdict, reason};
use crds::{DirectorGroupStatus, Member, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};

/// As many members as the schema has room for.
const MOST_MEMBERS: usize = 64;

pub(super) fn all(view: &View<'_>, validated: &Validated, placed: &Placed) -> Vec<Statement> {
    let active = active(view);
    let users = users(view);
    let readable = view
        .snapshot
        .director_groups
        .iter()
        .filter(|(_, stored)| !stored.meta.deleting);
    let readable = readable.filter_map(|(name, stored)| {
        let group = validated.groups.get(name)?;
        let old = DirectorGroupStatus {
            conditions: sorted(&stored.status.conditions),
            members: by_node(stored.status.members.clone()),
            ..stored.status.clone()
        };
        let mut new = status(view, stored, group, &old, &active);
        let verdicts = verdicts(view, placed, group);
        new.conditions = conditions(&old.conditions, verdicts, stored.meta.generation, view.now);
        let new = DirectorGroupStatus {
            virtual_services: users.get(name.as_str()).copied().or(Some(0)),
            ..new
        };
        Some(Statement {
            kind: "DirectorGroup",
            meta: stored.meta.clone(),
            new: new.conditions.clone(),
            write: (new != old).then(|| StatusWrite::DirectorGroup(name.clone(), Box::new(new))),
            old: old.conditions,
        })
    });
    let unread = view
        .snapshot
        .undecodable
        .director_groups
        .iter()
        .filter(|(_, stored)| !stored.meta.deleting);
    let unread = unread.map(|(name, stored)| {
        let old = sorted(&stored.status.conditions);
        let new = DirectorGroupStatus {
            observed_generation: Some(stored.meta.generation),
            virtual_services: users.get(name.as_str()).copied().or(Some(0)),
            conditions: unreadable(&old, &stored.error, stored.meta.generation, view.now),
            ..stored.status.clone()
        };
        let same = new.conditions == old
            && new.observed_generation == stored.status.observed_generation
            && new.virtual_services == stored.status.virtual_services;
        Statement {
            kind: "DirectorGroup",
            meta: stored.meta.clone(),
            new: new.conditions.clone(),
            write: (!same).then(|| StatusWrite::DirectorGroup(name.clone(), Box::new(new))),
            old,
        }
    });
    readable.chain(unread).collect()
}

fn by_node(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by(|a, b| a.node_name.cmp(&b.node_name));
    members
}

/// The nodes that hold a VIP of a group.
fn active<'a>(view: &View<'a>) -> BTreeSet<(&'a str, &'a str)> {
    let active = view
        .service_placements()
        .filter(|placement| super::service::role(view, placement) == Role::Active);
    let pairs = active.filter_map(|placement| Some((group_of(placement)?, placement.spec.node_name.as_str())));
    pairs.collect()
}

/// How many VirtualServices name each group: by their spec, or for those that cannot be read by what serves.
fn users<'a>(view: &View<'a>) -> BTreeMap<&'a str, i32> {
    let mut users = BTreeMap::new();
    let readable = view
        .snapshot
        .virtual_services
        .values()
        .map(|stored| stored.spec.director_group_name.as_str());
    let unreadable = view.snapshot.undecodable.virtual_services.values();
    let unreadable = unreadable.filter_map(|stored| stored.raw.pointer("/spec/directorGroupName")?.as_str());
    for group in readable.chain(unreadable) {
        *users.entry(group).or_insert(0) += 1;
    }
    users
}

fn status(
    view: &View<'_>,
    stored: &StoredDirectorGroup,
    group: &Group,
    old: &DirectorGroupStatus,
    active: &BTreeSet<(&str, &str)>,
) -> DirectorGroupStatus {
    let members = group.nodes.iter().take(MOST_MEMBERS).map(|node| {
        let role = match (
            view.is_fresh(node),
            active.contains(&(group.name.as_str(), node.as_str())),
        ) {
            (false, _) => Role::Unknown,
            (true, true) => Role::Active,
            (true, false) => Role::Backup,
        };
        let former = old
            .members
            .iter()
            .find(|former| former.node_name == *node && former.role == role);
        Member {
            node_name: node.clone(),
            role,
            since: former.map_or(Some(Time(super::seconds(view.now))), |former| former.since.clone()),
        }
    });
    DirectorGroupStatus {
        observed_generation: Some(stored.meta.generation),
        members: by_node(members.collect()),
        virtual_services: None,
        summary: Some(column(&group.nodes)),
        conditions: Vec::new(),
    }
}

/// Accepted, and Ready: every director has read back what the group's services share.
fn verdicts(view: &View<'_>, placed: &Placed, group: &Group) -> Vec<(&'static str, Verdict)> {
    let mut ready = group.accepted.clone();
    let nodes = group.nodes.iter().take_while(|_| group.accepted.is_true());
    for node in nodes {
        let said = match view.group_placement(&group.name, node) {
            _ if !view.is_fresh(node) => super::agent_lost(node),
            Some(placement) => reported(view, placed, placement),
            None => Verdict::no(
                reason::PENDING,
                format!("{node} is being told what the group's services share"),
            ),
        };
        if !said.is_true() {
            ready = said;
            break;
        }
    }
    vec![(ACCEPTED, group.accepted.clone()), (READY, ready)]
}
