//! An API server that is not there: versions, generations, finalizers, preconditions, and the log that watches read.
//!
//! Every kind has one log. A watcher that has read a prefix of it knows exactly what a list at that version would have
//! said, so "stale" is a smaller position, "dropped" is a jump, and "repeated" changes nothing.

use crds::{DirectorGroup, Placement, RealServer, VirtualService};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use operator::{Key, StatusWrite, Write};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Why a write was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    AlreadyExists,
    NotFound,
    Conflict,
    Invalid,
}

/// What a watch says: the object as it is now, or that it is gone.
#[derive(Debug)]
pub(crate) struct Event<K> {
    pub(crate) key: Key,
    pub(crate) object: Option<Rc<K>>,
}

/// All objects of one kind, and how they came to be.
#[derive(Debug)]
pub(crate) struct Shelf<K> {
    pub(crate) objects: BTreeMap<Key, Rc<K>>,
    pub(crate) log: Vec<Event<K>>,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            log: Vec::new(),
        }
    }
}

/// What a write is stamped with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    version: u64,
    now: Timestamp,
}

impl<K: Resource + Clone + PartialEq> Shelf<K> {
    pub(crate) fn create(&mut self, stamp: Stamp, mut object: K) -> Result<(), Refused> {
        let key = key_of(object.meta());
        if self.objects.contains_key(&key) {
            return Err(Refused::AlreadyExists);
        }
        let meta = object.meta_mut();
        meta.uid = Some(format!("uid-{}", stamp.version));
        meta.generation = Some(1);
        meta.creation_timestamp = Some(Time(stamp.now));
        self.store(stamp, key, object);
        Ok(())
    }

    fn store(&mut self, stamp: Stamp, key: Key, mut object: K) {
        object.meta_mut().resource_version = Some(stamp.version.to_string());
        let object = Rc::new(object);
        self.log.push(Event {
            key: key.clone(),
            object: Some(Rc::clone(&object)),
        });
        self.objects.insert(key, object);
    }

    /// Changes an object; what changes nothing makes no version. What was only waiting for its finalizers goes.
    pub(crate) fn edit(&mut self, stamp: Stamp, key: &Key, edit: impl FnOnce(&mut K)) -> Result<(), Refused> {
        let there = self.objects.get(key).ok_or(Refused::NotFound)?;
        let mut object = K::clone(there);
        edit(&mut object);
        if object == **there {
            return Ok(());
        }
        let meta = object.meta();
        if meta.deletion_timestamp.is_some() && meta.finalizers.as_ref().is_none_or(Vec::is_empty) {
            self.remove(key);
            return Ok(());
        }
        self.store(stamp, key.clone(), object);
        Ok(())
    }

    /// The same for a spec, which counts generations.
    pub(crate) fn edit_spec(&mut self, stamp: Stamp, key: &Key, edit: impl FnOnce(&mut K)) -> Result<(), Refused> {
        self.edit(stamp, key, |object| {
            let before = object.clone();
            edit(object);
            if *object != before {
                bump(object.meta_mut());
            }
        })
    }

    pub(crate) fn delete(&mut self, stamp: Stamp, key: &Key) -> Result<(), Refused> {
        let there = self.objects.get(key).ok_or(Refused::NotFound)?;
        if there.meta().finalizers.as_ref().is_none_or(Vec::is_empty) {
            self.remove(key);
            return Ok(());
        }
        self.edit(stamp, key, |object| {
            let meta = object.meta_mut();
            if meta.deletion_timestamp.is_none() {
                meta.deletion_timestamp = Some(Time(stamp.now));
                // The API server does this too: an agent's report on the generation before does not count any more.
                bump(meta);
            }
        })
    }

    fn remove(&mut self, key: &Key) {
        self.objects.remove(key);
        self.log.push(Event {
            key: key.clone(),
            object: None,
        });
    }
}

fn bump(meta: &mut ObjectMeta) {
    meta.generation = meta.generation.map(|generation| generation + 1);
}

pub(crate) fn key_of(meta: &ObjectMeta) -> Key {
    Key::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// The server.
#[derive(Debug, Default)]
pub(crate) struct Api {
    version: u64,
    pub(crate) virtual_services: Shelf<VirtualService>,
    pub(crate) real_servers: Shelf<RealServer>,
    pub(crate) director_groups: Shelf<DirectorGroup>,
    pub(crate) placements: Shelf<Placement>,
    pub(crate) nodes: Shelf<Node>,
    pub(crate) namespaces: Shelf<Namespace>,
    pub(crate) leases: Shelf<Lease>,
}

impl Api {
    /// The next version of all kinds together.
    pub(crate) fn stamp(&mut self, now: Timestamp) -> Stamp {
        self.version += 1;
        Stamp {
            version: self.version,
            now,
        }
    }

    /// Carries out what an operator asks for, as the API server would.
    pub(crate) fn carry_out(&mut self, write: &Write, now: Timestamp) -> Result<(), Refused> {
        let stamp = self.stamp(now);
        match write {
            Write::CreatePlacement(placement) => self.placements.create(stamp, (**placement).clone()),
            Write::ApplyPlacement(placement) => self.apply(stamp, placement),
            Write::ReleasePlacement {
                key,
                resource_version,
                finalizers,
            } => {
                self.precondition(key, Some(resource_version))?;
                self.placements.edit(stamp, key, |there| {
                    there.metadata.finalizers = Some(finalizers.clone());
                })
            }
            Write::DeletePlacement {
                key,
                uid,
                resource_version,
            } => {
                let there = self.precondition(key, Some(resource_version))?;
                if there.metadata.uid.as_ref() != Some(uid) {
                    return Err(Refused::Conflict);
                }
                self.placements.delete(stamp, key)
            }
            Write::Status(status) => self.status(stamp, status),
            Write::Event(_) => Ok(()),
        }
    }

    fn precondition(&self, key: &Key, version: Option<&String>) -> Result<&Placement, Refused> {
        let there = self.placements.objects.get(key).ok_or(Refused::NotFound)?;
        if version.is_some_and(|version| there.metadata.resource_version.as_ref() != Some(version)) {
            return Err(Refused::Conflict);
        }
        Ok(there)
    }

    /// A merge patch of spec, labels, finalizers and owners.
    fn apply(&mut self, stamp: Stamp, placement: &Placement) -> Result<(), Refused> {
        let meta = &placement.metadata;
        let key = key_of(meta);
        let there = self.precondition(&key, meta.resource_version.as_ref())?;
        let old = there.metadata.finalizers.clone().unwrap_or_default();
        let mut new = meta.finalizers.iter().flatten();
        if there.metadata.deletion_timestamp.is_some() && new.any(|finalizer| !old.contains(finalizer)) {
            return Err(Refused::Invalid);
        }
        self.placements.edit(stamp, &key, |there| {
            if there.spec != placement.spec {
                there.spec = placement.spec.clone();
                bump(&mut there.metadata);
            }
            let labels = there.metadata.labels.get_or_insert_default();
            labels.extend(meta.labels.clone().unwrap_or_default());
            there.metadata.finalizers.clone_from(&meta.finalizers);
            if let Some(owners) = &meta.owner_references {
                there.metadata.owner_references = Some(owners.clone());
            }
        })
    }

    fn status(&mut self, stamp: Stamp, write: &StatusWrite) -> Result<(), Refused> {
        match write {
            StatusWrite::VirtualService(key, status) => self
                .virtual_services
                .edit(stamp, key, |there| there.status = Some((**status).clone())),
            StatusWrite::RealServer(key, status) => self
                .real_servers
                .edit(stamp, key, |there| there.status = Some((**status).clone())),
            StatusWrite::DirectorGroup(name, status) => {
                self.director_groups.edit(stamp, &Key::new("", name), |there| {
                    there.status = Some((**status).clone());
                })
            }
        }
    }

    /// One round of the garbage collector: Placements whose owner is gone, or is another by now.
    pub(crate) fn collect_garbage(&mut self, now: Timestamp) -> usize {
        let owned_by_nobody = |placement: &Placement| {
            let owners = placement.metadata.owner_references.iter().flatten();
            let mut owners = owners.peekable();
            owners.peek().is_some() && owners.all(|owner| !self.lives(&owner.uid))
        };
        let orphans = self
            .placements
            .objects
            .iter()
            .filter(|(_, placement)| placement.metadata.deletion_timestamp.is_none() && owned_by_nobody(placement));
        let orphans: Vec<Key> = orphans.map(|(key, _)| key.clone()).collect();
        for key in &orphans {
            let stamp = self.stamp(now);
            // It was there a moment ago, and nobody else writes meanwhile.
            let _: Result<(), Refused> = self.placements.delete(stamp, key);
        }
        orphans.len()
    }

    fn lives(&self, uid: &str) -> bool {
        let mut services = self.virtual_services.objects.values();
        let mut groups = self.director_groups.objects.values();
        services.any(|service| service.metadata.uid.as_deref() == Some(uid))
            || groups.any(|group| group.metadata.uid.as_deref() == Some(uid))
    }
}
