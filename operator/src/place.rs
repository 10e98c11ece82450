//! Accepted services × Placements as they are × facts of nodes → Placements as they are to be. Pure.
//!
//! Order across nodes is decided here and nowhere else; the two flag rules are in `crds::Placement`'s module. In short:
//!
//! | coming | going |
//! |---|---|
//! | VIP: `Reserved`, then `Node` when no other node's Placement names it | `withdraw`, then the entry goes when the agent lists it no more |
//! | host: VIP listed, agent proves it, then the VIP enters `prepared` of a real server that is listed already | `leaving`, then `withdraw` when every director let go, then the entry goes |
//!
//! A part without entries goes, a Placement without parts loses its finalizer and is deleted.
//! Nothing here remembers: each step is read from the Placements themselves, so every step may be lost or repeated.

mod director;
mod host;
#[cfg(test)]
mod tests;
mod want;

use crate::snapshot::{Key, Meta, StoredPlacement};
use crate::validate::Validated;
use crate::view::{View, placement_name, subject_named};
use crate::write::Write;
use crds::names::{DIRECTOR_GROUP_LABEL, VIRTUAL_SERVICE_LABEL, WITHDRAW_FINALIZER};
use crds::{Placement, PlacementSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be written, and what status must know of it.
#[derive(Debug, Default)]
pub struct Placed {
    /// Writes to Placements.
    pub writes: Vec<Write>,
    /// Placements that are written now: whatever their agents said, they said about something else.
    pub touched: BTreeSet<Key>,
    /// VirtualServices that wait for somebody to let go, with the words.
    pub waits: BTreeMap<Key, String>,
}

/// Decides about every Placement.
pub fn place(view: &View<'_>, validated: &Validated) -> Placed {
    let mut placed = Placed::default();
    let subjects: BTreeSet<&Key> = validated.services.keys().chain(view.subjects()).collect();
    for subject in subjects {
        let want = want::of(view, validated, subject);
        if let Some(wait) = want.wait.clone() {
            placed.waits.insert(subject.clone(), wait);
        }
        let writes = subject_writes(view, subject, &want);
        placed.touched.extend(writes.iter().filter_map(changed));
        placed.writes.extend(writes);
    }
    placed
}

/// The Placement whose spec a write changes.
fn changed(write: &Write) -> Option<Key> {
    match write {
        Write::CreatePlacement(placement) | Write::ApplyPlacement(placement) => {
            let meta = &placement.metadata;
            Some(Key::new(
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            ))
        }
        Write::ReleasePlacement { key, .. } | Write::DeletePlacement { key, .. } => Some(key.clone()),
        Write::Status(_) | Write::Event(_) => None,
    }
}

fn subject_writes(view: &View<'_>, subject: &Key, want: &want::Want) -> Vec<Write> {
    let existing = view.placements(subject);
    let strays = existing.iter().filter(|placement| is_stray(subject, placement));
    let withdrawn = strays.filter_map(|stray| {
        let director = director::next(view, subject, &stray.spec.node_name, Some(stray), None);
        let host = host::next(view, subject, Some(stray), None);
        write(
            view,
            subject,
            Some(stray),
            spec(subject, &stray.spec.node_name, director, host),
            None,
        )
    });
    let nodes: BTreeSet<&str> = existing
        .iter()
        .filter(|placement| !is_stray(subject, placement))
        .map(|placement| placement.spec.node_name.as_str())
        .chain(want.directors.keys().map(String::as_str))
        .chain(want.hosts.keys().map(String::as_str))
        .filter(|node| !view.is_unreadable(subject, node))
        .collect();
    let wanted = nodes.into_iter().filter_map(|node| {
        let placement = view.placement(subject, node);
        // One that is being deleted ends first, in order, and is created anew then. On a node that is gone nothing is
        // wanted; what was there ends in order, too, because its agent may live and hear of it: a director at once, a
        // host when nobody sends there any more.
        let may_stay = placement.is_none_or(|placement| !placement.meta.deleting) && !view.is_gone(node);
        let director = director::next(
            view,
            subject,
            node,
            placement,
            want.directors.get(node).filter(|_| may_stay),
        );
        let host = host::next(view, subject, placement, want.hosts.get(node).filter(|_| may_stay));
        write(
            view,
            subject,
            placement,
            spec(subject, node, director, host),
            want.group.as_deref(),
        )
    });
    withdrawn.chain(wanted).collect()
}

/// A Placement that somebody made by hand, under another name: nobody asked for it.
fn is_stray(subject: &Key, placement: &StoredPlacement) -> bool {
    placement.meta.key.name != placement_name(subject, &placement.spec.node_name)
}

fn spec(
    subject: &Key,
    node: &str,
    director: Option<crds::DirectorPart>,
    host: Option<crds::HostPart>,
) -> PlacementSpec {
    PlacementSpec {
        subject: subject_named(&subject.name),
        node_name: node.to_owned(),
        director,
        real_server: host,
    }
}

/// The one write that brings a Placement nearer to `spec`; none when it is there.
fn write(
    view: &View<'_>,
    subject: &Key,
    existing: Option<&StoredPlacement>,
    spec: PlacementSpec,
    group: Option<&str>,
) -> Option<Write> {
    let is_empty = spec.director.is_none() && spec.real_server.is_none();
    let Some(existing) = existing else {
        if is_empty {
            return None;
        }
        let key = Key::new(&subject.namespace, placement_name(subject, &spec.node_name));
        let old = Meta { key, ..Meta::default() };
        let meta = metadata(subject, &old, owner_uid(view, subject), group);
        return Some(Write::CreatePlacement(Box::new(placement(meta, spec))));
    };
    if is_empty {
        return end(existing);
    }
    let old = &existing.meta;
    let owner_uid = owner_uid(view, subject).or_else(|| old.controller_uid.clone());
    let same_owner = owner_uid == old.controller_uid;
    let mut meta = metadata(subject, old, owner_uid, group);
    let same_meta =
        same_owner && meta.labels.as_ref() == Some(&old.labels) && meta.finalizers.as_ref() == Some(&old.finalizers);
    // The API server takes no new finalizer on what is being deleted.
    if spec == existing.spec && (same_meta || old.deleting) {
        return None;
    }
    if old.deleting {
        meta.finalizers = Some(old.finalizers.clone());
    }
    meta.resource_version = Some(old.resource_version.clone());
    meta.uid = Some(old.uid.clone());
    Some(Write::ApplyPlacement(Box::new(placement(meta, spec))))
}

/// Nothing of it is left on its node, or nobody is there to say so: the finalizer goes, then the object.
fn end(existing: &StoredPlacement) -> Option<Write> {
    let meta = &existing.meta;
    if meta.finalizers.iter().any(|finalizer| finalizer == WITHDRAW_FINALIZER) {
        return Some(Write::ReleasePlacement {
            key: meta.key.clone(),
            resource_version: meta.resource_version.clone(),
            finalizers: meta
                .finalizers
                .iter()
                .filter(|finalizer| *finalizer != WITHDRAW_FINALIZER)
                .cloned()
                .collect(),
        });
    }
    (!meta.deleting).then(|| Write::DeletePlacement {
        key: meta.key.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
    })
}

fn owner_uid(view: &View<'_>, subject: &Key) -> Option<String> {
    let readable = view.snapshot.virtual_services.get(subject).map(|stored| &stored.meta);
    let unreadable = view
        .snapshot
        .undecodable
        .virtual_services
        .get(subject)
        .map(|stored| &stored.meta);
    readable.or(unreadable).map(|meta| meta.uid.clone())
}

fn placement(metadata: ObjectMeta, spec: PlacementSpec) -> Placement {
    Placement {
        metadata,
        spec,
        status: None,
    }
}

/// The metadata that a Placement is to have. Without an owner to name, the owners stay as they are.
fn metadata(subject: &Key, old: &Meta, owner_uid: Option<String>, group: Option<&str>) -> ObjectMeta {
    let mut labels = old.labels.clone();
    labels.insert(VIRTUAL_SERVICE_LABEL.to_owned(), subject.name.clone());
    if let Some(group) = group {
        labels.insert(DIRECTOR_GROUP_LABEL.to_owned(), group.to_owned());
    }
    let mut finalizers = old.finalizers.clone();
    if !finalizers.iter().any(|finalizer| finalizer == WITHDRAW_FINALIZER) {
        finalizers.push(WITHDRAW_FINALIZER.to_owned());
    }
    let owner = owner_uid.map(|uid| OwnerReference {
        api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
        kind: "VirtualService".to_owned(),
        name: subject.name.clone(),
        uid,
        controller: Some(true),
        block_owner_deletion: Some(false),
    });
    ObjectMeta {
        name: Some(old.key.name.clone()),
        namespace: Some(old.key.namespace.clone()),
        labels: Some(labels),
        finalizers: Some(finalizers),
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}
