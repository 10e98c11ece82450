//! Accepted services × Placements as they are × facts of nodes → Placements as they are to be. Pure.
//!
//! Order across nodes is decided here and nowhere else; the two flag rules are in `crds::Placement`'s module. In short:
//!
//! | coming | going |
//! |---|---|
//! | VIP: `Reserved`, then `Node` when no other node's Placement names it | `withdraw`, then the entry goes when the agent lists it no more |
//! | host: VIP and real server listed, agent proves them, then the VIP enters `prepared` of a real server that is listed already | `leaving`, then `withdraw` when every director let go, then the entry goes |
//! | another way to a real server: named as `next`, its host proves it, then the entry changes | the host lists the old way as `leaving`, and drops it when every director let go |
//! | real server: listed unprepared | `leaving` until every director's agent says that it drained, then the entry goes |
//! | group: its share on every director | `withdraw` when none of its services is there any more, then the part goes |
//!
//! A part without entries goes, a Placement without parts loses its finalizer and is deleted.
//! Nothing here remembers: each step is read from the Placements themselves, so every step may be lost or repeated.

mod director;
mod group;
mod host;
mod listing;
#[cfg(test)]
mod tests;
mod wait;
mod want;

use crate::snapshot::{Key, Meta, StoredPlacement};
use crate::validate::Validated;
use crate::view::{View, placement_name, subject_named};
use crate::write::Write;
use crds::names::{DIRECTOR_GROUP_LABEL, VIRTUAL_SERVICE_LABEL, WITHDRAW_FINALIZER};
use crds::{Placement, PlacementSpec, Subject};
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

impl Placed {
    fn add(&mut self, writes: Vec<Write>) {
        self.touched.extend(writes.iter().filter_map(changed));
        self.writes.extend(writes);
    }
}

/// Decides about every Placement.
pub fn place(view: &View<'_>, validated: &Validated) -> Placed {
    let mut placed = Placed::default();
    placed.add(group::writes(view, validated));
    let subjects: BTreeSet<&Key> = validated.services.keys().chain(view.subjects()).collect();
    for subject in subjects {
        let want = want::of(view, validated, subject);
        if let Some(wait) = want.wait.clone() {
            placed.waits.insert(subject.clone(), wait);
        }
        let writes = subject_writes(view, subject, &want);
        placed.add(writes);
    }
    placed
}

/// The Placement whose spec a write changes.
fn changed(write: &Write) -> Option<Key> {
    match write {
        Write::CreatePlacement(placement) | Write::ApplyPlacement(placement) => Some(Key::of(&placement.metadata)),
        Write::ReleasePlacement { key, .. } | Write::DeletePlacement { key, .. } => Some(key.clone()),
        Write::Status(_) | Write::Event(_) => None,
    }
}

fn subject_writes(view: &View<'_>, subject: &Key, want: &want::Want) -> Vec<Write> {
    let owner = Owner::service(view, subject, want.group.as_deref());
    let existing = view.placements(subject);
    let strays = existing.iter().filter(|placement| is_stray(subject, placement));
    let withdrawn = strays.filter_map(|stray| {
        let node = &stray.spec.node_name;
        let director = director::next(view, subject, node, Some(stray), None);
        let host = host::next(view, subject, Some(stray), None);
        let owner = Owner::service(view, subject, None);
        owner.write(node, Some(stray), owner.spec(node, director, host))
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
        let may_stay = may_stay(view, placement, node);
        let director = want.directors.get(node).filter(|_| may_stay);
        let director = director::next(view, subject, node, placement, director);
        let host = host::next(view, subject, placement, want.hosts.get(node).filter(|_| may_stay));
        owner.write(node, placement, owner.spec(node, director, host))
    });
    withdrawn.chain(wanted).collect()
}

/// One that is being deleted ends first, in order, and is created anew then. On a node that is gone nothing is wanted; what
/// was there ends in order, too, because its agent may live and hear of it: a director at once, a host when nobody sends
/// there any more.
fn may_stay(view: &View<'_>, placement: Option<&StoredPlacement>, node: &str) -> bool {
    placement.is_none_or(|placement| !placement.meta.deleting) && !view.is_gone(node)
}

/// A Placement that somebody made by hand, under another name: nobody asked for it.
fn is_stray(subject: &Key, placement: &StoredPlacement) -> bool {
    placement.meta.key.name != placement_name(subject, &placement.spec.node_name)
}

/// For whom Placements are written, and what they all carry.
struct Owner {
    subject: Subject,
    namespace: String,
    /// Nothing when the object is gone.
    uid: Option<String>,
    labels: Vec<(&'static str, String)>,
}

impl Owner {
    fn service(view: &View<'_>, subject: &Key, group: Option<&str>) -> Self {
        let meta = view.snapshot.service_meta(subject);
        let group = group.map(|group| (DIRECTOR_GROUP_LABEL, group.to_owned()));
        let service = (VIRTUAL_SERVICE_LABEL, subject.name.clone());
        Self {
            subject: subject_named(&subject.name),
            namespace: subject.namespace.clone(),
            uid: meta.map(|meta| meta.uid.clone()),
            labels: std::iter::once(service).chain(group).collect(),
        }
    }

    fn spec(&self, node: &str, director: Option<crds::DirectorPart>, host: Option<crds::HostPart>) -> PlacementSpec {
        PlacementSpec {
            subject: self.subject.clone(),
            node_name: node.to_owned(),
            director,
            real_server: host,
            virtual_router: None,
        }
    }

    /// The one write that brings a Placement nearer to `spec`; none when it is there.
    fn write(&self, node: &str, existing: Option<&StoredPlacement>, spec: PlacementSpec) -> Option<Write> {
        let is_empty = spec.director.is_none() && spec.real_server.is_none() && spec.virtual_router.is_none();
        let Some(existing) = existing else {
            if is_empty {
                return None;
            }
            let name = crds::names::placement(&self.namespace, &self.subject, node);
            let old = Meta {
                key: Key::new(&self.namespace, name),
                ..Meta::default()
            };
            let meta = self.metadata(&old, self.uid.clone());
            return Some(Write::CreatePlacement(Box::new(placement(meta, spec))));
        };
        if is_empty {
            return end(existing);
        }
        let old = &existing.meta;
        let owner_uid = self.uid.clone().or_else(|| old.controller_uid.clone());
        let same_owner = owner_uid == old.controller_uid;
        let mut meta = self.metadata(old, owner_uid);
        let same_meta = same_owner
            && meta.labels.as_ref() == Some(&old.labels)
            && meta.finalizers.as_ref() == Some(&old.finalizers);
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

    /// The metadata that a Placement is to have. Without an owner to name, the owners stay as they are.
    fn metadata(&self, old: &Meta, uid: Option<String>) -> ObjectMeta {
        let mut labels = old.labels.clone();
        labels.extend(
            self.labels
                .iter()
                .map(|(label, value)| ((*label).to_owned(), value.clone())),
        );
        let mut finalizers = old.finalizers.clone();
        if !finalizers.iter().any(|finalizer| finalizer == WITHDRAW_FINALIZER) {
            finalizers.push(WITHDRAW_FINALIZER.to_owned());
        }
        let owner = uid.map(|uid| OwnerReference {
            api_version: format!("{}/{}", crds::GROUP, crds::VERSION),
            kind: self.subject.kind.as_str().to_owned(),
            name: self.subject.name.clone(),
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

fn placement(metadata: ObjectMeta, spec: PlacementSpec) -> Placement {
    Placement {
        metadata,
        spec,
        status: None,
    }
}
