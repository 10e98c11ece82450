//! The director part: VIPs, and the services on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::{AddressOwner, DirectorAddress, DirectorPart};
use ipvs::{DestinationConfig, Service, ServiceKey};

use super::services::{config, destinations, keys};
use super::{Problem, address, carrier, not_of_host, preparation, ruleset, single_address};
use crate::serving::{Fate, Serving};
use crate::state::{AddressKey, AddressScope, Facts, KernelState};

/// Adds what the part asks for. `hosted` are the VIPs that this node also accepts as the host of a real server.
pub(super) fn add(
    state: &mut KernelState,
    part: &DirectorPart,
    serving: &Serving,
    facts: &Facts,
    hosted: &BTreeSet<IpAddr>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut vips = BTreeMap::new();
    for entry in part.addresses.iter().filter(|entry| !entry.withdraw) {
        match address(&entry.address).and_then(|vip| not_of_host(vip, facts).map(|()| vip)) {
            Ok(vip) => {
                vips.insert(vip, entry);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let standby: BTreeSet<IpAddr> = vips
        .iter()
        .filter(|(vip, entry)| hosted.contains(*vip) && !is_held(entry))
        .map(|(vip, _)| *vip)
        .collect();
    let mut serves = BTreeMap::new();
    for placed in &part.services {
        for (key, of) in keys(placed, vips.keys().copied()) {
            for vip in &of {
                serves.entry(*vip).or_insert_with(BTreeSet::new).insert(key);
            }
            add_service(state, (part, serving), placed, (key, &of), &mut problems);
            if of.iter().all(|vip| standby.contains(vip)) {
                reduce(state, key, facts);
            }
        }
    }
    preparation::of_director(state, part, facts);
    ruleset::of_director(&mut state.ruleset, part, &vips.keys().copied().collect(), facts);
    for (vip, entry) in &vips {
        if is_held(entry) {
            problems.extend(hold(state, entry, *vip, facts, serves.get(vip)).err());
        }
    }
    if vips.values().any(|entry| is_held(entry)) {
        let worth: BTreeSet<ServiceKey> = serves.values().flatten().copied().collect();
        problems.extend(full_nat_sources(state, part, facts, &worth));
    }
    problems
}

/// The services are programmed also where the VIP is only reserved: becoming the holder is then the VIP alone.
fn is_held(entry: &DirectorAddress) -> bool {
    match entry.address_owner {
        AddressOwner::Reserved => false,
        AddressOwner::Node => true,
    }
}

fn add_service(
    state: &mut KernelState,
    (part, serving): (&DirectorPart, &Serving),
    placed: &crds::PlacedService,
    (key, vips): (ServiceKey, &BTreeSet<IpAddr>),
    problems: &mut Vec<Problem>,
) {
    if state.ipvs.services.contains_key(&key) {
        problems.push(Problem::ServiceTaken { key });
        return;
    }
    let mut entries = BTreeMap::new();
    for server in &part.real_servers {
        match destinations(server, placed, key.family(), vips) {
            Ok(of_server) => of_server.into_iter().for_each(|(to, config)| {
                entries.entry(to).or_insert(config);
            }),
            Err(problem) => problems.push(problem),
        }
    }
    entries.retain(|to, config| serves(config, serving.fates.get(&(key, *to))));
    let service = Service {
        config: config(placed, key.family()),
        destinations: entries,
    };
    state.ipvs.services.insert(key, service);
}

/// Gives a destination the weight that is made of it, and says whether it is in the table at all.
fn serves(config: &mut DestinationConfig, fate: Option<&Fate>) -> bool {
    match fate {
        None => true,
        Some(Fate::Scaled(weight)) => {
            config.weight = *weight;
            true
        }
        Some(Fate::Draining) => {
            config.weight = 0;
            true
        }
        Some(Fate::Out) => false,
    }
}

/// A director that does not hold the VIP, and accepts it as a real server's host: a packet from the other director must
/// be answered here, and never be balanced a second time, or two nodes pass it back and forth until its TTL ends.
fn reduce(state: &mut KernelState, key: ServiceKey, facts: &Facts) {
    let Some(service) = state.ipvs.services.get_mut(&key) else {
        return;
    };
    service
        .destinations
        .retain(|destination, _| facts.is_own(destination.address));
}

fn hold(
    state: &mut KernelState,
    entry: &DirectorAddress,
    vip: IpAddr,
    facts: &Facts,
    serves: Option<&BTreeSet<ServiceKey>>,
) -> Result<(), Problem> {
    if facts.answered.contains(&vip) {
        return Err(Problem::Answered { address: vip });
    }
    let interface = carrier(entry, vip, facts)?;
    insert(state, interface, vip, serves.into_iter().flatten().copied());
    Ok(())
}

/// FullNAT's own source addresses are held where the VIPs are.
fn full_nat_sources(
    state: &mut KernelState,
    part: &DirectorPart,
    facts: &Facts,
    worth: &BTreeSet<ServiceKey>,
) -> Vec<Problem> {
    let hold = |text: &String| {
        let source = address(text)?;
        not_of_host(source, facts)?;
        let interface = facts.interface_to(source).ok_or(Problem::NoRoute { address: source })?;
        Ok((interface.to_owned(), source))
    };
    let mut problems = Vec::new();
    for text in &part.full_nat_source_addresses {
        match hold(text) {
            Ok((interface, source)) => insert(state, interface, source, worth.iter().copied()),
            Err(problem) => problems.push(problem),
        }
    }
    problems
}

fn insert(state: &mut KernelState, interface: String, vip: IpAddr, serves: impl Iterator<Item = ServiceKey>) {
    state.serves.entry(vip).or_default().extend(serves);
    let key = AddressKey {
        interface,
        address: vip,
    };
    state.addresses.insert(key, single_address(vip, AddressScope::Global));
}
