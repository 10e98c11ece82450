//! What the objects ask for, said a second time and without the product's code: which VIP is on which node, which
//! destinations are in which table, who is silent. Only for a world at rest, in which every group has one director.

use crate::machines::Machine;
use crate::world::{VIPS, Violation, World};
use crds::{RealServer, VirtualService};
use ipvs::{DestinationKey, Protocol, ServiceKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use node_agent::state::{KNOBS, Knob, Sysctl};
use operator::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What one node is to have. Where two RealServers claim one address, either weight will do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    services: BTreeMap<ServiceKey, (String, BTreeMap<DestinationKey, BTreeSet<u32>>)>,
    held: BTreeSet<IpAddr>,
    on_lo: BTreeSet<IpAddr>,
    is_host: bool,
    placements: usize,
}

fn status_of(conditions: &[Condition], type_: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map_or("missing".to_owned(), |found| {
        format!("{} {}: {}", found.status, found.reason, found.message)
    })
}

fn said(service: &VirtualService, type_: &str) -> String {
    let status = service.status.as_ref();
    status.map_or("nothing".to_owned(), |status| status_of(&status.conditions, type_))
}

/// VirtualServices that the operators refuse.
pub(crate) fn refused(world: &World) -> Vec<Key> {
    let all = world.api.virtual_services.objects.iter();
    let refused = all.filter(|(_, service)| !said(service, "Accepted").starts_with("True"));
    refused.map(|(key, _)| key.clone()).collect()
}

/// Nobody is refused without a reason: a VIP that is not permitted, or that somebody else has or wants.
pub(crate) fn check_refusals(world: &World) -> Result<(), Violation> {
    for key in refused(world) {
        let Some(service) = world.api.virtual_services.objects.get(&key) else {
            continue;
        };
        let group = Key::new("", &service.spec.director_group_name);
        let group = world.api.director_groups.objects.get(&group);
        let is_narrow = group.is_some_and(|group| group.spec.allowed_cidrs != ["192.168.56.0/24"]);
        let wants = |other: &VirtualService, vip: &str| other.spec.addresses.iter().any(|entry| entry.address == vip);
        let is_wanted = |vip: &str| {
            let others = world
                .api
                .virtual_services
                .objects
                .iter()
                .filter(|(other, _)| **other != key);
            let placed = world
                .api
                .placements
                .objects
                .values()
                .filter(|there| there.spec.subject.name != key.name);
            let mut placed = placed.flat_map(|there| there.spec.director.iter().flat_map(|part| &part.addresses));
            others.into_iter().any(|(_, other)| wants(other, vip)) || placed.any(|entry| entry.address == vip)
        };
        let has_reason = |vip: &str| is_wanted(vip) || (is_narrow && vip == "192.168.56.102");
        if !service.spec.addresses.iter().any(|entry| has_reason(&entry.address)) {
            return Err(format!(
                "{key} is refused without a reason: {}",
                said(service, "Accepted")
            ));
        }
    }
    Ok(())
}

/// Statuses, kernels and Placements against what is asked for.
pub(crate) fn check(world: &mut World) -> Result<(), Violation> {
    for (key, service) in &world.api.virtual_services.objects {
        for type_ in ["Accepted", "ResolvedRefs", "Programmed"] {
            let words = said(service, type_);
            if !words.starts_with("True") {
                return Err(format!("at rest, {key} is not {type_}: {words}"));
            }
        }
    }
    let asked = asked(world)?;
    for (index, asked) in asked.iter().enumerate() {
        check_placements(world, index, asked)?;
        if let Some(machine) = world.machines.get_mut(index) {
            check_table(machine, asked)?;
            check_network(machine, asked)?;
        }
    }
    Ok(())
}

fn asked(world: &World) -> Result<Vec<Asked>, Violation> {
    let mut asked: Vec<Asked> = world.machines.iter().map(|_| Asked::default()).collect();
    for (key, service) in &world.api.virtual_services.objects {
        let director = director(world, &service.spec.director_group_name)?;
        let servers: Vec<&RealServer> = servers(world, key, service);
        let hosts: BTreeSet<usize> = servers.iter().filter_map(|server| node(world, server)).collect();
        for (index, asked) in asked.iter_mut().enumerate() {
            let vips = service
                .spec
                .addresses
                .iter()
                .filter_map(|entry| entry.address.parse().ok());
            let vips: Vec<IpAddr> = vips.collect();
            asked.is_host |= hosts.contains(&index);
            asked.placements += usize::from(hosts.contains(&index) || index == director);
            if hosts.contains(&index) {
                asked.on_lo.extend(vips.iter().copied());
            }
            if index == director {
                asked.held.extend(vips.iter().copied());
                vips.iter()
                    .for_each(|vip| direct(world, service, *vip, &servers, asked));
            }
        }
    }
    for asked in &mut asked {
        let held = asked.held.clone();
        asked.on_lo.retain(|vip| !held.contains(vip));
    }
    Ok(asked)
}

fn direct(world: &World, service: &VirtualService, vip: IpAddr, servers: &[&RealServer], asked: &mut Asked) {
    for port in &service.spec.ports {
        let protocol = match port.protocol {
            Some(crds::Protocol::Udp) => Protocol::Udp,
            Some(crds::Protocol::Tcp) | None => Protocol::Tcp,
        };
        let number = u16::try_from(port.port).unwrap_or(0);
        let mut destinations: BTreeMap<DestinationKey, BTreeSet<u32>> = BTreeMap::new();
        for server in servers {
            if let Some(address) = address(world, server) {
                let weights = destinations.entry(DestinationKey::new(address, number)).or_default();
                weights.insert(u32::try_from(server.spec.weight).unwrap_or(0));
            }
        }
        let service_asked = (service.spec.scheduler.as_str().to_owned(), destinations);
        asked
            .services
            .insert(ServiceKey::address(protocol, vip, number), service_asked);
    }
}

fn director(world: &World, group: &str) -> Result<usize, Violation> {
    let is_director = |index: &usize| {
        let node = world.api.nodes.objects.get(&world.node_key(*index));
        node.is_some_and(|node| {
            node.metadata
                .labels
                .as_ref()
                .is_some_and(|labels| labels.contains_key(group))
        })
    };
    let directors: Vec<usize> = (0..world.machines.len()).filter(is_director).collect();
    match directors.as_slice() {
        [one] => Ok(*one),
        _ => Err(format!(
            "the simulation is wrong: {group} has {} directors",
            directors.len()
        )),
    }
}

fn servers<'w>(world: &'w World, key: &Key, service: &VirtualService) -> Vec<&'w RealServer> {
    let wanted = service.spec.real_server_selector.match_labels.get("app");
    let is_chosen = |there: &Key, server: &RealServer| {
        there.namespace == key.namespace
            && server.metadata.labels.as_ref().and_then(|labels| labels.get("app")) == wanted
    };
    let all = world.api.real_servers.objects.iter();
    all.filter(|(there, server)| is_chosen(there, server))
        .map(|(_, server)| &**server)
        .collect()
}

fn node(world: &World, server: &RealServer) -> Option<usize> {
    let name = server.spec.node_name.as_ref()?;
    world.machines.iter().position(|machine| machine.name == *name)
}

fn address(world: &World, server: &RealServer) -> Option<IpAddr> {
    match &server.spec.addresses {
        Some(given) => given.first()?.parse().ok(),
        None => Some(world.machines.get(node(world, server)?)?.address),
    }
}

fn check_placements(world: &World, index: usize, asked: &Asked) -> Result<(), Violation> {
    let name = world.name(index);
    let all = world.api.placements.objects.values();
    let placements: Vec<_> = all.filter(|placement| placement.spec.node_name == name).collect();
    if placements.len() != asked.placements {
        return Err(format!(
            "{name} has {} Placements, not {}",
            placements.len(),
            asked.placements
        ));
    }
    for placement in placements {
        let status = placement.status.clone().unwrap_or_default();
        let words = status_of(&status.conditions, "Programmed");
        let boot = world.machines.get(index).map(Machine::boot_id);
        let is_current = status.observed_generation == placement.metadata.generation && status.boot_id == boot;
        if !is_current || !words.starts_with("True") {
            return Err(format!(
                "at rest, {} on {name} is not programmed: {words}",
                placement.spec.subject.name
            ));
        }
    }
    Ok(())
}

fn check_table(machine: &mut Machine, asked: &Asked) -> Result<(), Violation> {
    let foreign = machine.foreign_services.clone();
    let name = machine.name.clone();
    let table = machine.kernel().ipvs().table();
    for key in table.services.keys() {
        if !asked.services.contains_key(key) && !foreign.services.contains_key(key) {
            return Err(format!("{name} has {key}, which nobody asked for"));
        }
    }
    for (key, (scheduler, destinations)) in &asked.services {
        let Some(service) = table.services.get(key) else {
            return Err(format!("{name} does not have {key}"));
        };
        let there: BTreeSet<&DestinationKey> = service.destinations.keys().collect();
        let wanted: BTreeSet<&DestinationKey> = destinations.keys().collect();
        if there != wanted || service.config.scheduler.as_str() != scheduler {
            return Err(format!(
                "{name} has {key} as {service:?}, not {scheduler} with {destinations:?}"
            ));
        }
        for (destination, config) in &service.destinations {
            if destinations
                .get(destination)
                .is_none_or(|weights| !weights.contains(&config.weight))
            {
                return Err(format!(
                    "{name} has {key} to {destination} with weight {}",
                    config.weight
                ));
            }
        }
    }
    Ok(())
}

fn check_network(machine: &mut Machine, asked: &Asked) -> Result<(), Violation> {
    let name = machine.name.clone();
    let others = machine.others_sysctls.clone();
    let kernel = machine.kernel();
    for vip in VIPS {
        let wanted = (asked.held.contains(&vip), asked.on_lo.contains(&vip));
        let there = (kernel.holds(vip), kernel.is_local(vip) && !kernel.holds(vip));
        if there != wanted {
            return Err(format!("{name} has {vip} on (eth0, lo) = {there:?}, not {wanted:?}"));
        }
    }
    for knob in KNOBS {
        let sysctl = Sysctl {
            interface: "eth0".to_owned(),
            knob,
        };
        let value = kernel.effective("eth0", knob);
        let least = match knob {
            Knob::ArpIgnore => 1,
            Knob::ArpAnnounce => 2,
        };
        let is_right = if asked.is_host {
            value >= least
        } else {
            others.get(&sysctl).is_some_and(|values| values.contains(&value))
        };
        if !is_right {
            return Err(format!(
                "{name} has {sysctl}={value}; host: {}, others set {others:?}",
                asked.is_host
            ));
        }
    }
    Ok(())
}
