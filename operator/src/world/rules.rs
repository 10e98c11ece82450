//! What must hold at every moment, and what when everybody is done.

use super::World;
use super::agents::{Sent, table};
use super::words::way;
use crate::validate::{Family, serves, way_of};
use crds::*;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};

impl World {
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

    /// Whether the report was written in the boot that the node is in.
    fn is_of_this_boot(&self, placement: &Placement) -> bool {
        let reported = placement.status.as_ref().and_then(|status| status.boot_id.as_ref());
        reported == self.boots.get(&placement.spec.node_name)
    }

    fn is_long_silent(&self, node: &str) -> bool {
        let lease = self
            .objects
            .leases
            .iter()
            .find(|lease| lease.name_any() == crds::names::agent_lease(node));
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        // Without any drain; an operator may see an old one.
        renewed.is_none_or(|renewed| self.now.duration_since(renewed.0) >= SignedDuration::from_secs(70))
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
            self.check_leaving_at_rest(placement);
            self.check_host_at_rest(placement);
            for part in placement.spec.director.iter() {
                check_director_at_rest(placement, part, &mut keys);
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

    /// Only who is cordoned is still listed as leaving.
    fn check_leaving_at_rest(&self, placement: &Placement) {
        let entries = placement.spec.director.iter().flat_map(|part| &part.real_servers);
        for entry in entries {
            assert!(
                !entry.leaving || self.real_server(&entry.name).spec.cordoned,
                "{}",
                self.placements()
            );
        }
    }

    fn check_host_at_rest(&self, placement: &Placement) {
        for part in placement.spec.real_server.iter() {
            let is_going = part.addresses.iter().any(|entry| entry.leaving || entry.withdraw);
            let lets_go = part.real_servers.iter().any(|guest| guest.leaving);
            assert!(!is_going && !lets_go, "{}", self.placements());
        }
    }
}

/// VIPs are the node's own, and real servers are prepared for all that they can serve; adds to the claims.
fn check_director_at_rest(placement: &Placement, part: &DirectorPart, keys: &mut BTreeSet<(String, Subject)>) {
    let subject = &placement.spec.subject;
    for vip in &part.addresses {
        assert!(vip.address_owner == AddressOwner::Node && !vip.withdraw, "{vip:?}");
        for service in &part.services {
            let key = match service.takes() {
                Takes::Port { protocol, port } => format!("{} {protocol:?} {port}", vip.address),
                Takes::Mark(mark) => {
                    let family = Family::of(&vip.address);
                    format!("{family} {mark} {}", placement.spec.node_name)
                }
            };
            let is_new = keys.insert((key, subject.clone()));
            let is_mark = matches!(service.takes(), Takes::Mark(_));
            assert!(is_new || is_mark, "{subject:?} has a claim twice");
        }
    }
    for entry in &part.real_servers {
        let way = way_of(entry);
        let served = part.addresses.iter();
        let served = served.filter(|vip| serves(&entry.addresses, &way, &vip.address));
        assert_eq!(
            (entry.prepared.len(), &entry.next),
            (served.count(), &None),
            "{entry:?}"
        );
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
