//! What the objects ask for, said a second time and without the product's code: which VIP is on which node, which
//! destinations are in which table, who is silent. Only for a world at rest, in which every group has one director.

use crate::administrators::{EVERYTHING, GROUPS};
use crate::machines::Machine;
use crate::world::{VIPS, Violation, World};
use crds::{ForwardingMethod, RealServer, VirtualService};
use ipvs::{DestinationConfig, DestinationKey, Family, Protocol, ServiceConfig, ServiceFlags, ServiceKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use node_agent::desired::is_for_probes;
use node_agent::state::{SILENCE, Sysctl};
use operator::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What one node is to have.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    services: BTreeMap<ServiceKey, AskedService>,
    held: BTreeSet<IpAddr>,
    on_lo: BTreeSet<IpAddr>,
    is_host: bool,
    placements: usize,
}

/// One service. Where two RealServers claim one address, either will do.
#[derive(Debug, Default, PartialEq, Eq)]
struct AskedService {
    config: String,
    destinations: BTreeMap<DestinationKey, BTreeSet<String>>,
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

/// RealServers that a service refuses.
pub(crate) fn refused_servers(world: &World) -> Vec<Key> {
    let all = world.api.real_servers.objects.iter();
    let is_refused = |server: &RealServer| {
        let status = server.status.as_ref();
        status.is_some_and(|status| status_of(&status.conditions, "Accepted").starts_with("False"))
    };
    let refused = all.filter(|(_, server)| is_refused(server));
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
        let is_narrow = group.is_some_and(|group| group.spec.allowed_cidrs != EVERYTHING);
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
        let is_marked = |other: &VirtualService| {
            service.spec.firewall_mark.is_some() && other.spec.firewall_mark == service.spec.firewall_mark
        };
        let mut others = world.api.virtual_services.objects.iter();
        if others.any(|(other, there)| *other != key && is_marked(there)) {
            continue;
        }
        let has_reason =
            |vip: &str| is_wanted(vip) || (is_narrow && !["192.168.56.100", "192.168.56.101"].contains(&vip));
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
        let known = servers
            .iter()
            .filter(|server| method(service, server) != ForwardingMethod::FullNAT);
        let known: BTreeSet<usize> = known.filter_map(|server| node(world, server)).collect();
        let hosts = servers
            .iter()
            .filter(|server| method(service, server).is_host_prepared());
        let hosts: BTreeSet<usize> = hosts.filter_map(|server| node(world, server)).collect();
        for (index, asked) in asked.iter_mut().enumerate() {
            let vips = service
                .spec
                .addresses
                .iter()
                .filter_map(|entry| entry.address.parse().ok());
            let vips: Vec<IpAddr> = vips.collect();
            let is_silent = service.spec.addresses.iter().any(|entry| !entry.address.contains(':'));
            asked.is_host |= hosts.contains(&index) && is_silent;
            asked.placements += usize::from(known.contains(&index) || index == director);
            if hosts.contains(&index) {
                asked.on_lo.extend(vips.iter().copied());
            }
            if index == director {
                asked.held.extend(vips.iter().copied());
                for (service_key, port) in takes(world, key, service, director) {
                    let there = direct(world, service, service_key.family(), port, &servers);
                    asked.services.insert(service_key, there);
                }
            }
        }
    }
    for group in GROUPS {
        let director = director(world, group)?;
        if let Some(asked) = asked.get_mut(director) {
            asked.placements += 1;
        }
    }
    for asked in &mut asked {
        let held = asked.held.clone();
        asked.on_lo.retain(|vip| !held.contains(vip));
    }
    Ok(asked)
}

/// The services of a VirtualService, each with the port of its real servers: 0 keeps ports.
fn takes(world: &World, key: &Key, service: &VirtualService, director: usize) -> Vec<(ServiceKey, Option<(i32, i32)>)> {
    let spec = &service.spec;
    let is_across = spec
        .persistence
        .as_ref()
        .is_some_and(|persistence| persistence.across_ports);
    let of_ours = || {
        // Which of the range it is, is the operator's choice.
        let mut placements = world.api.placements.objects.values();
        let name = world.name(director);
        let placement = placements.find(|there| {
            let subject = &there.spec.subject;
            there.metadata.namespace.as_ref() == Some(&key.namespace)
                && (subject.name == key.name && subject.kind == crds::SubjectKind::VirtualService)
                && there.spec.node_name == name
        })?;
        placement.spec.director.as_ref()?.services.first()?.firewall_mark
    };
    let vips = spec.addresses.iter().filter_map(|entry| entry.address.parse().ok());
    let vips: Vec<IpAddr> = vips.collect();
    let mark = spec.firewall_mark.or_else(|| is_across.then(of_ours).flatten());
    if let Some(mark) = mark {
        let mark = u32::try_from(mark).unwrap_or(0);
        let families: BTreeSet<Family> = vips.into_iter().map(Family::of).collect();
        let keys = families
            .into_iter()
            .filter_map(|family| ServiceKey::firewall_mark(family, mark));
        return keys.map(|key| (key, None)).collect();
    }
    let ports = spec.ports.iter().flatten().map(|port| {
        let protocol = match port.protocol {
            Some(crds::Protocol::Udp) => Protocol::Udp,
            Some(crds::Protocol::Sctp) => Protocol::Sctp,
            Some(crds::Protocol::Tcp) | None => Protocol::Tcp,
        };
        let number = u16::try_from(port.port).unwrap_or(0);
        let target = port.target_port.unwrap_or(port.port);
        let keys = vips.iter().map(move |vip| ServiceKey::address(protocol, *vip, number));
        keys.map(move |key| (key, Some((port.port, target))))
            .collect::<Vec<_>>()
    });
    ports.flatten().collect()
}

/// How a real server is reached.
fn method(service: &VirtualService, server: &RealServer) -> ForwardingMethod {
    server.spec.forwarding_method.unwrap_or(service.spec.forwarding_method)
}

fn direct(
    world: &World,
    service: &VirtualService,
    family: Family,
    port: Option<(i32, i32)>,
    servers: &[&RealServer],
) -> AskedService {
    let mut asked = AskedService {
        config: service_words(&wanted_config(service)),
        ..AskedService::default()
    };
    // Nobody has connections here: who is cordoned has drained.
    for server in servers.iter().filter(|server| !server.spec.cordoned) {
        let method = method(service, server);
        let number = match port {
            Some((_, target)) if method.translates_ports() => target,
            Some((port, _)) => port,
            None => 0,
        };
        let key = address(world, service, server, family).zip(u16::try_from(number).ok());
        if let Some((address, number)) = key {
            let there = asked
                .destinations
                .entry(DestinationKey::new(address, number))
                .or_default();
            let mut config = DestinationConfig::new(in_kernel(method), u32::try_from(server.spec.weight).unwrap_or(0));
            config.upper_threshold = u32::try_from(server.spec.upper_threshold).unwrap_or(0);
            there.insert(destination_words(&config));
        }
    }
    asked
}

fn in_kernel(method: ForwardingMethod) -> ipvs::ForwardingMethod {
    match method {
        ForwardingMethod::DR => ipvs::ForwardingMethod::DirectRouting,
        ForwardingMethod::TUN => ipvs::ForwardingMethod::Tunnel,
        ForwardingMethod::NAT | ForwardingMethod::FullNAT => ipvs::ForwardingMethod::Masquerade,
    }
}

fn wanted_config(service: &VirtualService) -> ServiceConfig {
    let spec = &service.spec;
    let mut config = ServiceConfig::new(spec.scheduler.as_str(), Family::Ipv4);
    if spec.scheduler == crds::Scheduler::Sh {
        config.flags = config.flags | ServiceFlags::SH_FALLBACK;
    }
    if let Some(persistence) = &spec.persistence {
        config.flags = config.flags | ServiceFlags::PERSISTENT;
        config.timeout_seconds = u32::try_from(persistence.timeout_seconds).unwrap_or(0);
    }
    config
}

fn service_words(config: &ServiceConfig) -> String {
    format!("{} {:?} {}", config.scheduler, config.flags, config.timeout_seconds)
}

fn destination_words(config: &DestinationConfig) -> String {
    format!("{:?} {} {}", config.method, config.weight, config.upper_threshold)
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
    // Who cannot translate ports has no part in a service that does.
    let translates = service
        .spec
        .ports
        .iter()
        .flatten()
        .any(|port| port.target_port.is_some());
    let is_chosen = |there: &Key, server: &RealServer| {
        there.namespace == key.namespace
            && server.metadata.labels.as_ref().and_then(|labels| labels.get("app")) == wanted
            && (method(service, server).translates_ports() || !translates)
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

/// Its address of the family; in a tunnel, either carries both.
fn address(world: &World, service: &VirtualService, server: &RealServer, family: Family) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = match &server.spec.addresses {
        Some(given) => given.iter().filter_map(|text| text.parse().ok()).collect(),
        None => {
            let machine = world.machines.get(node(world, server)?)?;
            vec![machine.address, machine.six]
        }
    };
    let of_family = addresses.iter().find(|address| Family::of(**address) == family);
    let other = addresses
        .first()
        .filter(|_| method(service, server) == ForwardingMethod::TUN);
    of_family.or(other).copied()
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
    // What steers the agent's probes is there for as long as there is anything to probe.
    let steers = |key: &ServiceKey| is_for_probes(key) && !asked.services.is_empty();
    for key in table.services.keys() {
        if !asked.services.contains_key(key) && !foreign.services.contains_key(key) && !steers(key) {
            return Err(format!("{name} has {key}, which nobody asked for"));
        }
    }
    for (key, asked) in &asked.services {
        let Some(service) = table.services.get(key) else {
            return Err(format!("{name} does not have {key}"));
        };
        let there: BTreeSet<&DestinationKey> = service.destinations.keys().collect();
        let wanted: BTreeSet<&DestinationKey> = asked.destinations.keys().collect();
        if there != wanted || service_words(&service.config) != asked.config {
            return Err(format!("{name} has {key} as {service:?}, not {asked:?}"));
        }
        for (destination, config) in &service.destinations {
            let words = destination_words(config);
            if asked
                .destinations
                .get(destination)
                .is_none_or(|there| !there.contains(&words))
            {
                return Err(format!("{name} has {key} to {destination} as {words}"));
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
    for knob in SILENCE {
        let sysctl = Sysctl::on("eth0", knob);
        let value = kernel.effective("eth0", knob);
        let least = knob.silent().unwrap_or_default();
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
