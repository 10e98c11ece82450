//! The API server: what people apply and delete, and what becomes of an operator's writes.

use super::{Conflict, World};
use crate::snapshot::Key;
use crate::write::{StatusWrite, Write};
use crds::Placement;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde::Deserialize;

impl World {
    /// `kubectl apply` of one or more documents.
    pub(crate) fn apply(&mut self, yaml: &str) {
        for document in serde_yaml::Deserializer::from_str(yaml) {
            let mut value = serde_json::Value::deserialize(document).unwrap();
            let kind = value["kind"].as_str().unwrap().to_owned();
            let metadata = value["metadata"].as_object_mut().unwrap();
            if kind == "VirtualService" || kind == "RealServer" {
                metadata.entry("namespace").or_insert("shop".into());
            }
            let version = self.next_version();
            let created = self.now;
            match kind.as_str() {
                "VirtualService" => upsert(&mut self.objects.virtual_services, value, version, created),
                "RealServer" => upsert(&mut self.objects.real_servers, value, version, created),
                "DirectorGroup" => upsert(&mut self.objects.director_groups, value, version, created),
                "Placement" => upsert(&mut self.objects.placements, value, version, created),
                "Namespace" => {
                    let namespace: Namespace = serde_json::from_value(value).unwrap();
                    self.objects
                        .namespaces
                        .retain(|there| there.name_any() != namespace.name_any());
                    self.objects.namespaces.push(namespace);
                }
                other => panic!("no such kind in this world: {other}"),
            }
            self.now += SignedDuration::from_secs(1);
        }
    }

    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(crate) fn delete_service(&mut self, name: &str) {
        self.objects.virtual_services.retain(|there| there.name_any() != name);
    }

    pub(crate) fn delete_real_server(&mut self, name: &str) {
        self.objects.real_servers.retain(|there| there.name_any() != name);
    }

    /// `kubectl delete placement`: it stays while it has finalizers.
    pub(crate) fn delete_placement(&mut self, name: &str) {
        let version = self.next_version();
        let now = Time(self.now);
        let placement = self
            .objects
            .placements
            .iter_mut()
            .find(|there| there.name_any() == name)
            .unwrap();
        placement.metadata.deletion_timestamp = Some(now);
        placement.metadata.generation = placement.metadata.generation.map(|generation| generation + 1);
        placement.metadata.resource_version = Some(version.to_string());
        self.collect();
    }

    fn collect(&mut self) {
        self.objects.placements.retain(|there| {
            there.metadata.deletion_timestamp.is_none()
                || there.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty())
        });
    }

    /// What the API server does with a write.
    pub(crate) fn carry_out(&mut self, write: &Write) -> Result<(), Conflict> {
        let version = self.next_version();
        match write {
            Write::CreatePlacement(placement) => {
                if self.position(&Key::of(&placement.metadata)).is_some() {
                    return Err(Conflict);
                }
                let mut placement = (**placement).clone();
                placement.metadata.uid = Some(format!("uid-{version}"));
                placement.metadata.generation = Some(1);
                placement.metadata.creation_timestamp = Some(Time(self.now));
                placement.metadata.resource_version = Some(version.to_string());
                self.objects.placements.push(placement);
            }
            Write::ApplyPlacement(applied) => {
                let there = self.preconditioned(
                    &Key::of(&applied.metadata),
                    applied.metadata.resource_version.as_deref(),
                )?;
                if there.spec != applied.spec {
                    there.metadata.generation = there.metadata.generation.map(|generation| generation + 1);
                }
                there.spec = applied.spec.clone();
                there.metadata.labels.clone_from(&applied.metadata.labels);
                there.metadata.finalizers.clone_from(&applied.metadata.finalizers);
                if applied.metadata.owner_references.is_some() {
                    there
                        .metadata
                        .owner_references
                        .clone_from(&applied.metadata.owner_references);
                }
                there.metadata.resource_version = Some(version.to_string());
            }
            Write::ReleasePlacement {
                key,
                resource_version,
                finalizers,
            } => {
                let there = self.preconditioned(key, Some(resource_version))?;
                there.metadata.finalizers = Some(finalizers.clone());
                there.metadata.resource_version = Some(version.to_string());
                self.collect();
            }
            Write::DeletePlacement {
                key, resource_version, ..
            } => {
                self.preconditioned(key, Some(resource_version))?;
                self.delete_placement(&key.name);
            }
            Write::Status(status) => self.set_status(status),
            Write::Event(_) => {}
        }
        Ok(())
    }

    fn set_status(&mut self, write: &StatusWrite) {
        match write {
            StatusWrite::VirtualService(key, status) => {
                let mut all = self.objects.virtual_services.iter_mut();
                if let Some(there) = all.find(|there| Key::of(&there.metadata) == *key) {
                    there.status = Some((**status).clone());
                }
            }
            StatusWrite::RealServer(key, status) => {
                let mut all = self.objects.real_servers.iter_mut();
                if let Some(there) = all.find(|there| Key::of(&there.metadata) == *key) {
                    there.status = Some((**status).clone());
                }
            }
            StatusWrite::DirectorGroup(name, status) => {
                let mut all = self.objects.director_groups.iter_mut();
                if let Some(there) = all.find(|there| there.name_any() == *name) {
                    there.status = Some((**status).clone());
                }
            }
        }
    }

    fn position(&self, key: &Key) -> Option<usize> {
        self.objects
            .placements
            .iter()
            .position(|there| Key::of(&there.metadata) == *key)
    }

    fn preconditioned(&mut self, key: &Key, version: Option<&str>) -> Result<&mut Placement, Conflict> {
        let position = self.position(key).ok_or(Conflict)?;
        let there = &mut self.objects.placements[position];
        if there.metadata.resource_version.as_deref() != version {
            return Err(Conflict);
        }
        Ok(there)
    }
}

fn upsert<K>(all: &mut Vec<K>, value: serde_json::Value, version: u64, created: Timestamp)
where
    K: kube::Resource + kube::core::object::HasSpec<Spec: PartialEq + Clone> + serde::de::DeserializeOwned,
{
    let mut object: K = serde_json::from_value(value).unwrap();
    let found = all
        .iter()
        .position(|there| Key::of(there.meta()) == Key::of(object.meta()));
    let meta = object.meta_mut();
    meta.resource_version = Some(version.to_string());
    match found {
        None => {
            meta.uid = Some(format!("uid-{version}"));
            meta.generation = Some(1);
            meta.creation_timestamp = Some(Time(created));
            all.push(object);
        }
        Some(position) => {
            let there = &mut all[position];
            if there.spec() != object.spec() {
                there.meta_mut().generation = there.meta().generation.map(|generation| generation + 1);
            }
            *there.spec_mut() = object.spec().clone();
            there.meta_mut().labels = object.meta().labels.clone();
        }
    }
}
