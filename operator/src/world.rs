//! A small world for tests: an API with versions, generations and finalizers, and agents that do what they are told.
//!
//! It interprets writes by the API server's rules and refuses what those refuse. `settle` turns the crank until nobody
//! writes, so a test says what happens, and looks at the end or stops in between.

mod agents;
mod words;

use crate::snapshot::{Key, Objects, Snapshot};
use crate::write::{Decisions, StatusWrite, Write};
use crate::{reconcile, view};
use agents::{Machine, Sent, table};
use crds::*;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use words::{lines, way};

/// Everything there is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) now: Timestamp,
    /// Boot ids by node; a node without one has no agent.
    pub(crate) boots: BTreeMap<String, String>,
    /// Nodes whose agent does nothing for now; their kernels stay as they are.
    pub(crate) silent: BTreeSet<String>,
    /// What hosts cannot do: node, real server and method, with what their agents say.
    pub(crate) unable: BTreeMap<(String, String, &'static str), String>,
    /// What the directors' tables hold, by Placement.
    kernels: BTreeMap<String, BTreeSet<Sent>>,
    version: u64,
}

/// A write that the API refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl World {
    /// A director, two hosts, a group, and their agents.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            objects: Objects::default(),
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
            boots: BTreeMap::new(),
            silent: BTreeSet::new(),
            unable: BTreeMap::new(),
            kernels: BTreeMap::new(),
            version: 100,
        };
        for (index, node) in ["dir1", "dir2", "rs1", "rs2"].into_iter().enumerate() {
            world.node(node, &format!("192.168.56.{}", 10 * (index + 1)));
        }
        world.label("dir1", "lvs-operator.io/director", Some("true"));
        world.apply(GROUP);
        for namespace in ["shop", "blog"] {
            world.apply(&format!(
                "kind: Namespace\nmetadata: {{name: {namespace}, labels: {{team: {namespace}}}}}"
            ));
        }
        world.agents();
        world
    }

    /// The same with a service on two hosts.
    pub(crate) fn serving() -> Self {
        let mut world = Self::new();
        world.apply(WEB);
        world.apply(RS1);
        world.apply(RS2);
        world.settle();
        world
    }

    pub(crate) fn node(&mut self, name: &str, ip: &str) {
        let text = format!(
            "metadata: {{name: {name}, uid: uid-{name}, labels: {{}}}}\nspec: {{}}\n\
             status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}"
        );
        self.objects.nodes.push(serde_yaml::from_str(&text).unwrap());
        self.boots.insert(name.to_owned(), format!("boot-{name}"));
    }

    pub(crate) fn label(&mut self, node: &str, key: &str, value: Option<&str>) {
        let node = self
            .objects
            .nodes
            .iter_mut()
            .find(|there| there.name_any() == node)
            .unwrap();
        let labels = node.metadata.labels.get_or_insert_default();
        match value {
            Some(value) => labels.insert(key.to_owned(), value.to_owned()),
            None => labels.remove(key),
        };
    }

    pub(crate) fn taint_out_of_service(&mut self, node: &str) {
        let node = self
            .objects
            .nodes
            .iter_mut()
            .find(|there| there.name_any() == node)
            .unwrap();
        let taint = serde_yaml::from_str("{key: node.kubernetes.io/out-of-service, effect: NoExecute}").unwrap();
        node.spec.get_or_insert_default().taints = Some(vec![taint]);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.objects.nodes.retain(|node| node.name_any() != name);
    }

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

    fn next_version(&mut self) -> u64 {
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

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::from_objects(self.objects.clone())
    }

    /// What an operator with a fresh view decides.
    pub(crate) fn decide(&self) -> Decisions {
        reconcile(&self.snapshot(), self.now)
    }

    /// Writes to Placements only.
    pub(crate) fn placement_writes(&self) -> Vec<Write> {
        let is_placement = |write: &Write| !matches!(write, Write::Status(_) | Write::Event(_));
        self.decide().writes.into_iter().filter(is_placement).collect()
    }

    /// One pass of an operator.
    pub(crate) fn pass(&mut self) -> Decisions {
        let decisions = self.decide();
        for write in &decisions.writes {
            let _ = self.carry_out(write);
        }
        decisions
    }

    /// What the API server does with a write.
    pub(crate) fn carry_out(&mut self, write: &Write) -> Result<(), Conflict> {
        let version = self.next_version();
        match write {
            Write::CreatePlacement(placement) => {
                if self.position(&key(&placement.metadata)).is_some() {
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
                let there =
                    self.preconditioned(&key(&applied.metadata), applied.metadata.resource_version.as_deref())?;
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
                if let Some(there) = all.find(|there| self::key(&there.metadata) == *key) {
                    there.status = Some((**status).clone());
                }
            }
            StatusWrite::RealServer(key, status) => {
                let mut all = self.objects.real_servers.iter_mut();
                if let Some(there) = all.find(|there| self::key(&there.metadata) == *key) {
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
            .position(|there| self::key(&there.metadata) == *key)
    }

    fn preconditioned(&mut self, key: &Key, version: Option<&str>) -> Result<&mut Placement, Conflict> {
        let position = self.position(key).ok_or(Conflict)?;
        let there = &mut self.objects.placements[position];
        if there.metadata.resource_version.as_deref() != version {
            return Err(Conflict);
        }
        Ok(there)
    }

    /// Every agent that lives renews its Lease, obeys and reports.
    pub(crate) fn agents(&mut self) {
        for node in self.boots.keys().cloned().collect::<Vec<_>>() {
            if !self.silent.contains(&node) {
                self.agent(&node);
            }
        }
    }

    pub(crate) fn agent(&mut self, node: &str) {
        self.renew(node);
        let machine = Machine {
            node,
            boot: &self.boots[node].clone(),
            now: self.now,
            addresses: self.internal_ips(node),
            unable: &self.unable.clone(),
        };
        for position in 0..self.objects.placements.len() {
            let version = self.next_version();
            let there = &mut self.objects.placements[position];
            if there.spec.node_name != node {
                continue;
            }
            let status = machine.obeyed(there);
            self.kernels.insert(there.name_any(), table(there));
            if there.status.as_ref() != Some(&status) {
                there.status = Some(status);
                there.metadata.resource_version = Some(version.to_string());
            }
        }
    }

    fn internal_ips(&self, node: &str) -> Vec<String> {
        let mut nodes = self.objects.nodes.iter();
        let node = nodes.find(|there| there.name_any() == node);
        let facts = node.map(crate::snapshot::NodeFacts::from).unwrap_or_default();
        facts.internal_ips.iter().map(ToString::to_string).collect()
    }

    /// A sign of life without a report.
    pub(crate) fn renew(&mut self, node: &str) {
        let name = crds::names::agent_lease(node);
        self.objects.leases.retain(|lease| lease.name_any() != name);
        let mut lease = Lease::default();
        lease.metadata.name = Some(name);
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.boots[node].clone());
        spec.renew_time = Some(MicroTime(self.now));
        self.objects.leases.push(lease);
    }

    /// Passes and reports until nobody writes; how many passes it took.
    pub(crate) fn settle(&mut self) -> usize {
        for passes in 0..40 {
            self.now += SignedDuration::from_millis(50);
            self.agents();
            self.check();
            if self.pass().writes.is_empty() {
                return passes;
            }
            self.check();
        }
        panic!("never settled: {:#?}", self.decide().writes);
    }

    /// A node boots: its kernel is empty, and its agent has not started yet.
    pub(crate) fn reboot(&mut self, node: &str, boot: &str) {
        self.boots.insert(node.to_owned(), boot.to_owned());
    }

    /// Whether the report was written in the boot that the node is in.
    fn is_of_this_boot(&self, placement: &Placement) -> bool {
        let reported = placement.status.as_ref().and_then(|status| status.boot_id.as_ref());
        reported == self.boots.get(&placement.spec.node_name)
    }

    /// What must hold at every moment.
    pub(crate) fn check(&self) {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for placement in &self.objects.placements {
            let node = placement.spec.node_name.as_str();
            let entries = placement.spec.director.iter().flat_map(|part| &part.addresses);
            let told = entries
                .filter(|entry| entry.address_owner == AddressOwner::Node)
                .map(|entry| &entry.address);
            let report = placement
                .status
                .iter()
                .flat_map(|status| &status.director)
                .flat_map(|report| &report.addresses);
            let report = report.filter(|entry| entry.role == Role::Active && self.is_of_this_boot(placement));
            for address in told.chain(report.map(|entry| &entry.address)) {
                let other = owners.insert(address, node).unwrap_or(node);
                assert_eq!(other, node, "{address} is on two nodes");
            }
            let hosts = placement.spec.real_server.iter();
            for (part, vip) in hosts.flat_map(|part| part.addresses.iter().map(move |vip| (part, vip))) {
                if vip.withdraw {
                    self.check_nobody_sends(placement, part, &vip.address);
                }
            }
            for part in placement.spec.real_server.iter() {
                self.check_ways(placement, part);
            }
        }
    }

    fn check_nobody_sends(&self, host: &Placement, part: &HostPart, vip: &str) {
        for director in self.directors_of(&host.spec.subject, &host.metadata) {
            for sent in self
                .told_and_sent(director)
                .filter(|sent| sent.vip == vip && sent.needs_host)
            {
                let here = sent.node.as_ref().is_none_or(|node| *node == host.spec.node_name);
                let is_guest = part
                    .real_servers
                    .iter()
                    .any(|guest| guest.addresses.contains(&sent.address));
                assert!(
                    !(here && is_guest),
                    "{vip} is withdrawn from {} while a director sends there: {sent:?}",
                    host.spec.node_name
                );
            }
        }
    }

    /// Whoever is sent to by a way that needs its host is listed there by this way.
    fn check_ways(&self, host: &Placement, part: &HostPart) {
        for director in self.directors_of(&host.spec.subject, &host.metadata) {
            for sent in self.told_and_sent(director).filter(|sent| sent.needs_host) {
                let accepted = part.addresses.iter().any(|there| there.address == sent.vip);
                if sent.node.as_ref() != Some(&host.spec.node_name) || !accepted {
                    continue;
                }
                let lists = |guest: &HostRealServer| {
                    let is_way = way(guest.forwarding_method, guest.tunnel.as_ref()) == sent.way;
                    is_way && guest.addresses.contains(&sent.address)
                };
                assert!(
                    part.real_servers.iter().any(lists),
                    "{} does not know the way of {sent:?}",
                    host.spec.node_name
                );
            }
        }
    }

    fn directors_of(&self, subject: &Subject, meta: &ObjectMeta) -> impl Iterator<Item = &Placement> {
        let all = self.objects.placements.iter();
        all.filter(move |other| other.spec.subject == *subject && other.metadata.namespace == meta.namespace)
    }

    /// What a director is told to send, and what its kernel sends.
    fn told_and_sent(&self, director: &Placement) -> impl Iterator<Item = Sent> {
        let knows = self.is_of_this_boot(director) && !self.is_long_silent(&director.spec.node_name);
        let kernel = self.kernels.get(&director.name_any()).filter(|_| knows);
        let mut all = table(director);
        all.extend(kernel.into_iter().flatten().cloned());
        all.into_iter()
    }

    fn is_long_silent(&self, node: &str) -> bool {
        let lease = self
            .objects
            .leases
            .iter()
            .find(|lease| lease.name_any() == crds::names::agent_lease(node));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        renewed.is_none_or(|renewed| self.now.duration_since(renewed.0) >= SignedDuration::from_secs(70))
    }

    fn check_host_at_rest(&self, placement: &Placement) {
        for part in placement.spec.real_server.iter() {
            let is_going = part.addresses.iter().any(|entry| entry.leaving || entry.withdraw);
            let lets_go = part.real_servers.iter().any(|guest| guest.leaving);
            assert!(!is_going && !lets_go, "{}", self.placements());
        }
    }

    /// What must hold when everybody is done: nothing is left of what is gone, every claim has one holder.
    pub(crate) fn check_rest(&self) {
        let mut keys = BTreeSet::new();
        for placement in &self.objects.placements {
            let subject = &placement.spec.subject;
            let names: Vec<String> = match subject.kind {
                SubjectKind::VirtualService => names(&self.objects.virtual_services),
                SubjectKind::DirectorGroup => names(&self.objects.director_groups),
            };
            assert!(names.contains(&subject.name), "{subject:?} is gone");
            assert_eq!(placement.metadata.deletion_timestamp, None);
            assert!(placement.spec.virtual_router.iter().all(|part| !part.withdraw));
            self.check_host_at_rest(placement);
            let Some(part) = &placement.spec.director else {
                continue;
            };
            for vip in &part.addresses {
                assert!(vip.address_owner == AddressOwner::Node && !vip.withdraw, "{vip:?}");
                for service in &part.services {
                    let key = match service.takes() {
                        Takes::Port { protocol, port } => format!("{} {protocol:?} {port}", vip.address),
                        Takes::Mark(mark) => {
                            let family = crate::validate::Family::of(&vip.address);
                            format!("{family} {mark} {}", placement.spec.node_name)
                        }
                    };
                    let other = keys.insert((key, subject.clone()));
                    let mine = matches!(service.takes(), Takes::Mark(_));
                    assert!(other || mine, "{subject:?} has a claim twice");
                }
            }
            for entry in &part.real_servers {
                let way = crate::validate::way_of(entry);
                let served = part.addresses.iter();
                let served = served.filter(|vip| crate::validate::serves(&entry.addresses, &way, &vip.address));
                assert_eq!(
                    (entry.prepared.len(), &entry.next),
                    (served.count(), &None),
                    "{entry:?}"
                );
            }
        }
        one_holder_each(&keys);
        for service in &self.objects.virtual_services {
            let accepted = self.said(&service.name_any(), "Accepted");
            let is_placed = self
                .objects
                .placements
                .iter()
                .any(|there| there.spec.subject.name == service.name_any());
            assert!(
                !accepted.starts_with("True") || is_placed,
                "{} is accepted and not placed",
                service.name_any()
            );
        }
    }

    pub(crate) fn service(&self, name: &str) -> &VirtualService {
        self.objects
            .virtual_services
            .iter()
            .find(|there| there.name_any() == name)
            .unwrap()
    }

    pub(crate) fn real_server(&self, name: &str) -> &RealServer {
        self.objects
            .real_servers
            .iter()
            .find(|there| there.name_any() == name)
            .unwrap()
    }

    /// `status reason: message` of a VirtualService's condition.
    pub(crate) fn said(&self, name: &str, type_: &str) -> String {
        said(&self.service(name).status.clone().unwrap_or_default().conditions, type_)
    }

    /// The same of a RealServer.
    pub(crate) fn said_of_real_server(&self, name: &str, type_: &str) -> String {
        said(
            &self.real_server(name).status.clone().unwrap_or_default().conditions,
            type_,
        )
    }

    /// All Placements, a line each entry, in a form that tests can read.
    pub(crate) fn placements(&self) -> String {
        let mut lines: Vec<String> = self.service_placements().into_iter().flat_map(lines).collect();
        lines.sort();
        lines.join("\n") + "\n"
    }

    /// The Placements of VirtualServices.
    pub(crate) fn service_placements(&self) -> Vec<&Placement> {
        let all = self.objects.placements.iter();
        all.filter(|there| there.spec.subject.kind == SubjectKind::VirtualService)
            .collect()
    }

    /// The Placements of DirectorGroups, a line each.
    pub(crate) fn group_placements(&self) -> String {
        let all = self.objects.placements.iter();
        let of_groups = all.filter(|there| there.spec.subject.kind == SubjectKind::DirectorGroup);
        let mut lines: Vec<String> = of_groups
            .map(|there| {
                let part = json!(there.spec.virtual_router);
                let namespace = there.metadata.namespace.as_deref().unwrap_or_default();
                format!(
                    "{namespace}/{}@{} {part}\n",
                    there.spec.subject.name, there.spec.node_name
                )
            })
            .collect();
        lines.sort();
        lines.concat()
    }

    pub(crate) fn group_placement(&self, group: &str, node: &str) -> Option<&Placement> {
        let name = view::group_placement_name("lvs-system", group, node);
        self.objects.placements.iter().find(|there| there.name_any() == name)
    }

    pub(crate) fn group_placement_mut(&mut self, group: &str, node: &str) -> &mut Placement {
        let name = view::group_placement_name("lvs-system", group, node);
        let mut all = self.objects.placements.iter_mut();
        all.find(|there| there.name_any() == name).unwrap()
    }

    /// `status reason: message` of a DirectorGroup's condition.
    pub(crate) fn said_of_group(&self, name: &str, type_: &str) -> String {
        let mut all = self.objects.director_groups.iter();
        let group = all.find(|there| there.name_any() == name).unwrap();
        said(&group.status.clone().unwrap_or_default().conditions, type_)
    }

    pub(crate) fn placement(&self, service: &str, node: &str) -> Option<&Placement> {
        let name = view::placement_name(&Key::new("shop", service), node);
        self.objects.placements.iter().find(|there| there.name_any() == name)
    }

    pub(crate) fn placement_mut(&mut self, service: &str, node: &str) -> &mut Placement {
        let name = view::placement_name(&Key::new("shop", service), node);
        self.objects
            .placements
            .iter_mut()
            .find(|there| there.name_any() == name)
            .unwrap()
    }
}

fn said(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition], type_: &str) -> String {
    conditions::find(conditions, type_).map_or("not said".to_owned(), |said| {
        format!("{} {}: {}", said.status, said.reason, said.message)
    })
}

fn key(meta: &ObjectMeta) -> Key {
    Key::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

fn upsert<K>(all: &mut Vec<K>, value: serde_json::Value, version: u64, created: Timestamp)
where
    K: kube::Resource + kube::core::object::HasSpec<Spec: PartialEq + Clone> + serde::de::DeserializeOwned,
{
    let mut object: K = serde_json::from_value(value).unwrap();
    let found = all.iter().position(|there| key(there.meta()) == key(object.meta()));
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

/// Whoever has a claim has it alone.
fn one_holder_each(keys: &BTreeSet<(String, Subject)>) {
    let mut claimed: BTreeMap<&String, &Subject> = BTreeMap::new();
    for (key, subject) in keys {
        let other = claimed.insert(key, subject).unwrap_or(subject);
        assert_eq!(other, subject, "{key} is claimed twice");
    }
}

fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).collect()
}

pub(crate) const GROUP: &str = r#"
kind: DirectorGroup
metadata: {name: default}
spec:
  nodeSelector: {matchLabels: {lvs-operator.io/director: "true"}}
  allowedNamespaces: {from: All}
  allowedCIDRs: [192.168.56.0/24]
"#;

pub(crate) const WEB: &str = r"
kind: VirtualService
metadata: {name: web}
spec:
  addresses: [{address: 192.168.56.100}]
  ports: [{port: 80}]
  scheduler: rr
  realServerSelector: {matchLabels: {app: web}}
";

pub(crate) const RS1: &str = r"
kind: RealServer
metadata: {name: rs1, labels: {app: web}}
spec: {nodeName: rs1, addresses: [192.168.56.30]}
";

pub(crate) const RS2: &str = r"
kind: RealServer
metadata: {name: rs2, labels: {app: web}}
spec: {nodeName: rs2, addresses: [192.168.56.40]}
";
