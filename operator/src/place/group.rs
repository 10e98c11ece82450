//! The Placements of DirectorGroups: what the services of a group share on each of its directors.
//!
//! They come before the services and go after them: while any part of a service of the group is on a node, what the group
//! does there stays. Refused content stays as it is placed.

use super::{Owner, may_stay};
use crate::snapshot::StoredPlacement;
use crate::validate::{Group, Validated, group_of};
use crate::view::{View, group_named};
use crate::write::Write;
use crds::names::DIRECTOR_GROUP_LABEL;
use crds::{PlacementSpec, RouterPart};
use std::collections::BTreeSet;

/// The writes of all groups. One that cannot be read is left as it is.
pub(super) fn writes(view: &View<'_>, validated: &Validated) -> Vec<Write> {
    let placed = view.group_placements().map(|(name, _)| name);
    let names: BTreeSet<&str> = validated.groups.keys().map(String::as_str).chain(placed).collect();
    let readable = names
        .into_iter()
        .filter(|name| !view.snapshot.undecodable.director_groups.contains_key(*name));
    readable
        .flat_map(|name| group_writes(view, validated.groups.get(name), name))
        .collect()
}

fn group_writes(view: &View<'_>, group: Option<&Group>, name: &str) -> Vec<Write> {
    let stored = view.snapshot.director_groups.get(name);
    let owner = Owner {
        subject: group_named(name),
        namespace: view.snapshot.settings.namespace.clone(),
        uid: stored.map(|stored| stored.meta.uid.clone()),
        labels: vec![(DIRECTOR_GROUP_LABEL, name.to_owned())],
    };
    let group = group.filter(|_| stored.is_some_and(|stored| !stored.meta.deleting));
    let existing: Vec<&StoredPlacement> = view
        .group_placements()
        .filter(|(there, _)| *there == name)
        .flat_map(|(_, placements)| placements.iter().copied())
        .collect();
    let is_own = |placement: &&StoredPlacement| {
        let own = view.group_placement(name, &placement.spec.node_name);
        own.is_some_and(|own| own.meta.key == placement.meta.key)
    };
    let (own, strays): (Vec<_>, Vec<_>) = existing.into_iter().partition(is_own);
    let withdrawn = strays.into_iter().filter_map(|stray| {
        let spec = spec(&owner, &stray.spec.node_name, next(view, Some(stray), None));
        owner.write(&stray.spec.node_name, Some(stray), spec)
    });
    let coming = group.and_then(Group::director);
    let nodes: BTreeSet<&str> = own
        .iter()
        .map(|placement| placement.spec.node_name.as_str())
        .chain(coming)
        .filter(|node| !view.is_group_unreadable(name, node))
        .collect();
    let wanted = nodes.into_iter().filter_map(|node| {
        let placement = view.group_placement(name, node);
        let placed = placement.or(own.first().copied());
        let want = wanted(view, group, name, node, placed).filter(|_| may_stay(view, placement, node));
        owner.write(node, placement, spec(&owner, node, next(view, placement, want)))
    });
    withdrawn.chain(wanted).collect()
}

fn spec(owner: &Owner, node: &str, part: Option<RouterPart>) -> PlacementSpec {
    PlacementSpec {
        virtual_router: part,
        ..owner.spec(node, None, None)
    }
}

/// What the group is to do on a node in the end.
fn wanted(
    view: &View<'_>,
    group: Option<&Group>,
    name: &str,
    node: &str,
    placed: Option<&StoredPlacement>,
) -> Option<RouterPart> {
    let is_selected = group.is_some_and(|group| group.nodes.iter().any(|selected| selected == node));
    if !is_selected && !is_in_use(view, name, node) {
        return None;
    }
    // What is refused goes on as it is placed, also where the group goes: but for timeouts that are another node's.
    let as_placed = || {
        let part = placed
            .and_then(|placed| placed.spec.virtual_router.clone())
            .unwrap_or_default();
        let is_outvoted = group.is_some_and(|group| group.outvoted.contains(node));
        let is_here = !is_outvoted && placed.is_some_and(|placed| placed.spec.node_name == node);
        RouterPart {
            timeouts: part.timeouts.filter(|_| is_here),
            withdraw: false,
            ..part
        }
    };
    match group.and_then(|group| group.shared.as_ref()) {
        Some(shared) => Some(RouterPart {
            masquerade: shared.masquerade.clone(),
            timeouts: shared.timeouts,
            withdraw: false,
        }),
        None => Some(as_placed()),
    }
}

/// Whether anything of the group's services is on this node.
fn is_in_use(view: &View<'_>, group: &str, node: &str) -> bool {
    view.service_placements().any(|placement| {
        placement.spec.node_name == node && placement.spec.director.is_some() && group_of(placement) == Some(group)
    })
}

/// The next step of a part: what is being withdrawn is withdrawn to its end before it comes back.
fn next(view: &View<'_>, placement: Option<&StoredPlacement>, want: Option<RouterPart>) -> Option<RouterPart> {
    let Some(old) = placement.and_then(|placement| placement.spec.virtual_router.clone()) else {
        return want;
    };
    let is_withdrawn = old.withdraw
        && placement.is_some_and(|placement| {
            let is_left = placement.status.virtual_router.is_some();
            view.is_off(&placement.spec.node_name) || (view.is_settled(placement) && !is_left)
        });
    match want {
        Some(want) if !old.withdraw || is_withdrawn => Some(want),
        None if is_withdrawn => None,
        Some(_) | None => Some(RouterPart { withdraw: true, ..old }),
    }
}
