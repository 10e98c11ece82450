//! What the operator knows at one moment, as plain values.
//!
//! The Placements of a snapshot must be one consistent prefix of their history (one watch over one kind gives that): the
//! two flag rules of `crds::Placement` stand on it. Nothing here reads a clock or the network.

use crate::settings::Settings;
use crds::{
    DirectorGroup, DirectorGroupSpec, DirectorGroupStatus, Placement, PlacementSpec, PlacementStatus, RealServer,
    RealServerSpec, RealServerStatus, VirtualService, VirtualServiceSpec, VirtualServiceStatus,
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for kinds without namespaces.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl Key {
    /// The key of this namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key that an object's metadata names.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// The metadata that decisions need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// Namespace and name.
    pub key: Key,
    /// Tells a recreated object from its predecessor.
    pub uid: String,
    /// What every write to a Placement carries back.
    pub resource_version: String,
    /// Counts changes of the spec.
    pub generation: i64,
    /// Age decides between new claims.
    pub created: Timestamp,
    /// The object is going: it has a deletionTimestamp.
    pub deleting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its finalizers, also those of others.
    pub finalizers: Vec<String>,
    /// The uid of the owner that is its controller.
    pub controller_uid: Option<String>,
}

impl From<ObjectMeta> for Meta {
    fn from(meta: ObjectMeta) -> Self {
        let controller = meta.owner_references.unwrap_or_default().into_iter();
        Self {
            key: Key::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            created: meta.creation_timestamp.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            labels: meta.labels.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            controller_uid: controller
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid)
                .next(),
        }
    }
}

/// One object of ours: metadata, spec, and what the status said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored<S, T> {
    /// Its metadata.
    pub meta: Meta,
    /// What is asked for.
    pub spec: S,
    /// What was said about it; empty when nothing was.
    pub status: T,
}

/// A VirtualService as read.
pub type StoredVirtualService = Stored<VirtualServiceSpec, VirtualServiceStatus>;
/// A RealServer as read.
pub type StoredRealServer = Stored<RealServerSpec, RealServerStatus>;
/// A DirectorGroup as read.
pub type StoredDirectorGroup = Stored<DirectorGroupSpec, DirectorGroupStatus>;
/// A Placement as read.
pub type StoredPlacement = Stored<PlacementSpec, PlacementStatus>;

macro_rules! stored_from {
    ($kind:ident) => {
        impl From<$kind>
            for Stored<<$kind as kube::core::object::HasSpec>::Spec, <$kind as kube::core::object::HasStatus>::Status>
        {
            fn from(object: $kind) -> Self {
                Self {
                    meta: object.metadata.into(),
                    spec: object.spec,
                    status: object.status.unwrap_or_default(),
                }
            }
        }
    };
}
stored_from!(VirtualService);
stored_from!(RealServer);
stored_from!(DirectorGroup);
stored_from!(Placement);

/// An object that this operator cannot read: what could be read of it, and why not the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecoded<T> {
    /// Its metadata.
    pub meta: Meta,
    /// What serde says.
    pub error: String,
    /// The status, when that could be read.
    pub status: T,
    /// The whole object as it came, for the few facts that must be had anyway.
    pub raw: serde_json::Value,
}

/// Undecodable objects of every kind of ours, each by its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Undecodable {
    /// Their Placements stay exactly as they are.
    pub virtual_services: BTreeMap<Key, Undecoded<VirtualServiceStatus>>,
    /// Their entries in Placements stay as they are.
    pub real_servers: BTreeMap<Key, Undecoded<RealServerStatus>>,
    /// Their services stay as they are.
    pub director_groups: BTreeMap<String, Undecoded<DirectorGroupStatus>>,
    /// Left alone; the VIPs that they name count as held.
    pub placements: BTreeMap<Key, Undecoded<PlacementStatus>>,
}

/// A Node, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Tells a recreated Node from its predecessor.
    pub uid: String,
    /// What DirectorGroups select by.
    pub labels: BTreeMap<String, String>,
    /// Its InternalIPs, in the order of its status.
    pub internal_ips: Vec<IpAddr>,
    /// An administrator says that it is off, by the taint `node.kubernetes.io/out-of-service`.
    pub out_of_service: bool,
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        Self {
            uid: node.metadata.uid.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            internal_ips: addresses
                .into_iter()
                .flatten()
                .filter(|address| address.type_ == "InternalIP")
                .filter_map(|address| address.address.parse().ok())
                .collect(),
            out_of_service: taints
                .into_iter()
                .flatten()
                .any(|taint| taint.key == crds::names::OUT_OF_SERVICE_TAINT),
        }
    }
}

/// An agent's sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The boot id of the node, as its agent read it.
    pub boot_id: Option<String>,
    /// When the agent renewed it last, by the agent's clock.
    pub renewed: Option<Timestamp>,
}

impl From<&Lease> for LeaseFacts {
    fn from(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        Self {
            boot_id: spec.and_then(|spec| spec.holder_identity.clone()),
            renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        }
    }
}

/// Everything that a decision may depend on. It only exists once every watch had its first complete list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// All VirtualServices that could be read.
    pub virtual_services: BTreeMap<Key, StoredVirtualService>,
    /// All RealServers that could be read.
    pub real_servers: BTreeMap<Key, StoredRealServer>,
    /// All DirectorGroups that could be read, by name.
    pub director_groups: BTreeMap<String, StoredDirectorGroup>,
    /// All Placements that could be read.
    pub placements: BTreeMap<Key, StoredPlacement>,
    /// What could not be read.
    pub undecodable: Undecodable,
    /// All Nodes, by name.
    pub nodes: BTreeMap<String, NodeFacts>,
    /// The labels of all Namespaces, by name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The agents' Leases, by node name.
    pub leases: BTreeMap<String, LeaseFacts>,
    /// Addresses of the API server: a VIP like that would cut the cluster off.
    pub api_servers: BTreeSet<IpAddr>,
    /// What the operator was started with.
    pub settings: Settings,
}

/// Whole objects, as tests and simulations have them.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Objects {
    pub virtual_services: Vec<VirtualService>,
    pub real_servers: Vec<RealServer>,
    pub director_groups: Vec<DirectorGroup>,
    pub placements: Vec<Placement>,
    pub nodes: Vec<Node>,
    pub namespaces: Vec<Namespace>,
    /// Leases whose name is not an agent's are left out.
    pub leases: Vec<Lease>,
    pub api_servers: Vec<IpAddr>,
    pub settings: Settings,
}

impl Snapshot {
    /// The metadata of a VirtualService, whether the rest of it could be read or not.
    pub fn service_meta(&self, key: &Key) -> Option<&Meta> {
        let readable = self.virtual_services.get(key).map(|stored| &stored.meta);
        let unreadable = self.undecodable.virtual_services.get(key);
        readable.or(unreadable.map(|stored| &stored.meta))
    }

    /// The snapshot that these objects make.
    pub fn from_objects(objects: Objects) -> Self {
        fn by_key<K, S, T>(objects: Vec<K>) -> BTreeMap<Key, Stored<S, T>>
        where
            Stored<S, T>: From<K>,
        {
            let stored = objects.into_iter().map(Stored::from);
            stored
                .map(|object: Stored<S, T>| (object.meta.key.clone(), object))
                .collect()
        }
        Self {
            virtual_services: by_key(objects.virtual_services),
            real_servers: by_key(objects.real_servers),
            director_groups: by_key(objects.director_groups)
                .into_iter()
                .map(|(key, group)| (key.name, group))
                .collect(),
            placements: by_key(objects.placements),
            undecodable: Undecodable::default(),
            nodes: objects
                .nodes
                .iter()
                .map(|node| (node.metadata.name.clone().unwrap_or_default(), NodeFacts::from(node)))
                .collect(),
            namespaces: objects
                .namespaces
                .into_iter()
                .map(|namespace| namespace.metadata)
                .map(|meta| (meta.name.unwrap_or_default(), meta.labels.unwrap_or_default()))
                .collect(),
            leases: objects
                .leases
                .iter()
                .filter_map(|lease| Some((agent_node(lease)?.to_owned(), LeaseFacts::from(lease))))
                .collect(),
            api_servers: objects.api_servers.into_iter().collect(),
            settings: objects.settings,
        }
    }
}

/// The node whose agent renews this Lease; none when the Lease is somebody else's.
pub fn agent_node(lease: &Lease) -> Option<&str> {
    lease
        .metadata
        .name
        .as_deref()?
        .strip_prefix(crds::names::AGENT_LEASE_PREFIX)
}
