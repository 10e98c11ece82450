//! The snapshot as the watches build it. No IO here: events in, state out.

use super::{Source, Update};
use crate::settings::Settings;
use crate::snapshot::{Key, LeaseFacts, NodeFacts, Snapshot, Stored, Undecoded, agent_node};
use crds::names::LEASE_SECONDS;
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The state of all watches.
#[derive(Debug, Default)]
pub struct Store {
    snapshot: Snapshot,
    /// Lists that are not complete yet.
    pending: BTreeMap<Source, Vec<DynamicObject>>,
    /// Watches that had a complete list.
    listed: BTreeSet<Source>,
}

/// Whether an update may change a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// Look again.
    Yes,
    /// Nothing that a decision depends on: an agent's sign of life in time, a Node's heartbeat.
    No,
}

impl From<bool> for Wake {
    fn from(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }
}

impl Store {
    /// Knows nothing yet but what the operator was started with, and the API server's own addresses.
    pub fn new(settings: Settings, api_servers: impl IntoIterator<Item = IpAddr>) -> Self {
        let snapshot = Snapshot {
            api_servers: api_servers.into_iter().collect(),
            settings,
            ..Snapshot::default()
        };
        Self {
            snapshot,
            ..Self::default()
        }
    }

    /// The snapshot, once every watch had its first complete list.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        (self.listed.len() == Source::ALL.len()).then_some(&self.snapshot)
    }

    /// Takes in what a watch says.
    pub fn absorb(&mut self, update: Update) -> Wake {
        let source = update.source;
        match update.event {
            Event::Init => {
                self.pending.insert(source, Vec::new());
                Wake::No
            }
            Event::InitApply(object) => {
                self.pending.entry(source).or_default().push(object);
                Wake::No
            }
            Event::InitDone => {
                let objects = self.pending.remove(&source).unwrap_or_default();
                self.clear(source);
                for object in objects {
                    let _ = self.put(source, object);
                }
                self.listed.insert(source);
                Wake::Yes
            }
            Event::Apply(object) => self.put(source, object),
            Event::Delete(object) => self.remove(source, &object),
        }
    }

    fn clear(&mut self, source: Source) {
        let all = &mut self.snapshot;
        let unread = &mut all.undecodable;
        match source {
            Source::VirtualServices => {
                all.virtual_services.clear();
                unread.virtual_services.clear();
            }
            Source::RealServers => {
                all.real_servers.clear();
                unread.real_servers.clear();
            }
            Source::DirectorGroups => {
                all.director_groups.clear();
                unread.director_groups.clear();
            }
            Source::Placements => {
                all.placements.clear();
                unread.placements.clear();
            }
            Source::Nodes => all.nodes.clear(),
            Source::Namespaces => all.namespaces.clear(),
            Source::Leases => all.leases.clear(),
        }
    }

    fn remove(&mut self, source: Source, object: &DynamicObject) -> Wake {
        let all = &mut self.snapshot;
        let unread = &mut all.undecodable;
        let name = object.name_any();
        let key = Key::new(object.namespace().unwrap_or_default(), &name);
        let was_there = match source {
            Source::VirtualServices => {
                all.virtual_services.remove(&key).is_some() | unread.virtual_services.remove(&key).is_some()
            }
            Source::RealServers => all.real_servers.remove(&key).is_some() | unread.real_servers.remove(&key).is_some(),
            Source::DirectorGroups => {
                all.director_groups.remove(&name).is_some() | unread.director_groups.remove(&name).is_some()
            }
            Source::Placements => all.placements.remove(&key).is_some() | unread.placements.remove(&key).is_some(),
            Source::Nodes => all.nodes.remove(&name).is_some(),
            Source::Namespaces => all.namespaces.remove(&name).is_some(),
            Source::Leases => name
                .strip_prefix(crds::names::AGENT_LEASE_PREFIX)
                .is_some_and(|node| all.leases.remove(node).is_some()),
        };
        was_there.into()
    }

    fn put(&mut self, source: Source, object: DynamicObject) -> Wake {
        let name = object.name_any();
        let key = Key::new(object.namespace().unwrap_or_default(), &name);
        let all = &mut self.snapshot;
        let unread = &mut all.undecodable;
        match source {
            Source::VirtualServices => put_decoded::<crds::VirtualService, _, _, _>(
                key,
                object,
                &mut all.virtual_services,
                &mut unread.virtual_services,
            ),
            Source::RealServers => {
                put_decoded::<crds::RealServer, _, _, _>(key, object, &mut all.real_servers, &mut unread.real_servers)
            }
            Source::DirectorGroups => put_decoded::<crds::DirectorGroup, _, _, _>(
                name,
                object,
                &mut all.director_groups,
                &mut unread.director_groups,
            ),
            Source::Placements => {
                put_decoded::<crds::Placement, _, _, _>(key, object, &mut all.placements, &mut unread.placements)
            }
            Source::Nodes => {
                let facts = node_facts(object);
                let same = all.nodes.get(&name) == Some(&facts);
                all.nodes.insert(name, facts);
                (!same).into()
            }
            Source::Namespaces => {
                let labels = object.metadata.labels.unwrap_or_default();
                let same = all.namespaces.get(&name) == Some(&labels);
                all.namespaces.insert(name, labels);
                (!same).into()
            }
            Source::Leases => put_lease(object, &mut all.leases),
        }
    }
}

fn put_decoded<K, I, S, T>(
    key: I,
    object: DynamicObject,
    readable: &mut BTreeMap<I, Stored<S, T>>,
    unreadable: &mut BTreeMap<I, Undecoded<T>>,
) -> Wake
where
    K: DeserializeOwned,
    I: Ord + Clone,
    Stored<S, T>: From<K> + PartialEq,
    T: DeserializeOwned + Default,
{
    let meta = object.metadata.clone();
    let raw = serde_json::to_value(object).unwrap_or_default();
    match serde_json::from_value::<K>(raw.clone()) {
        Ok(decoded) => {
            unreadable.remove(&key);
            let mut stored = Stored::from(decoded);
            let same = readable.get(&key).is_some_and(|old| {
                // A version alone changes no decision, but every write must carry the newest.
                let version = stored.meta.resource_version.clone();
                stored.meta.resource_version.clone_from(&old.meta.resource_version);
                let same = *old == stored;
                stored.meta.resource_version = version;
                same
            });
            readable.insert(key, stored);
            (!same).into()
        }
        Err(error) => {
            readable.remove(&key);
            let status = raw.get("status").cloned().unwrap_or(Value::Null);
            let unread = Undecoded {
                meta: meta.into(),
                error: error.to_string(),
                status: serde_json::from_value(status).unwrap_or_default(),
                raw,
            };
            unreadable.insert(key, unread);
            Wake::Yes
        }
    }
}

/// A Node that does not decode is there all the same: only its absence ends Placements.
fn node_facts(object: DynamicObject) -> NodeFacts {
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let node = serde_json::to_value(object).and_then(serde_json::from_value::<Node>);
    match node {
        Ok(node) => NodeFacts::from(&node),
        Err(_) => NodeFacts {
            uid,
            labels,
            ..NodeFacts::default()
        },
    }
}

fn put_lease(object: DynamicObject, leases: &mut BTreeMap<String, LeaseFacts>) -> Wake {
    // A Lease that cannot be read is no sign of life.
    let Ok(lease) = serde_json::to_value(object).and_then(serde_json::from_value::<Lease>) else {
        return Wake::No;
    };
    let Some(node) = agent_node(&lease) else {
        return Wake::No;
    };
    let facts = LeaseFacts::from(&lease);
    let in_time = leases.get(node).is_some_and(|old| {
        let gap = old
            .renewed
            .zip(facts.renewed)
            .map(|(before, after)| after.duration_since(before));
        let short = gap.is_some_and(|gap| gap < SignedDuration::from_secs(LEASE_SECONDS.into()));
        old.boot_id == facts.boot_id && short
    });
    leases.insert(node.to_owned(), facts);
    (!in_time).into()
}
