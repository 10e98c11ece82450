//! Everything there is: the API server, two operators, the nodes, the clock. And what may be done with it, step by step.

use crate::administrators;
use crate::api::Api;
use crate::machines::{Foreign, Machine};
use crate::operators::{KINDS, Kind, Operator};
use crate::random::Random;
use health::Moment;
use ipvs::{DestinationConfig, DestinationKey, ForwardingMethod, Protocol, Service, ServiceConfig, ServiceKey};
use jiff::{SignedDuration, Timestamp};
use node_agent::serving::Now;
use node_agent::state::{SILENCE, Sysctl};
use operator::Key;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a run is over before its end.
pub(crate) type Violation = String;

/// The VIPs that people play with.
pub(crate) const VIPS: [IpAddr; 4] = [link(100), link(101), link(102), six(100)];

pub(crate) const fn link(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 56, host))
}

/// On the same link.
pub(crate) const fn six(host: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd56, 0, 0, 0, 0, 0, 0, host as u16))
}

/// The world.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: Timestamp,
    pub(crate) api: Api,
    pub(crate) operators: Vec<Operator>,
    pub(crate) machines: Vec<Machine>,
    /// What happened, when somebody wants to read it.
    pub(crate) trace: Option<Vec<String>>,
    /// No operator knows less of the Nodes than this: see [`World::come_back`].
    pub(crate) nodes_known: usize,
}

impl World {
    pub(crate) fn new(mut random: Random, is_traced: bool) -> Self {
        let count = 3 + random.below(4);
        let machines = (0..count).map(|index| machine(&mut random, index)).collect();
        let mut world = Self {
            random,
            now: begin(),
            api: Api::default(),
            operators: vec![Operator::new(), Operator::new()],
            machines,
            trace: is_traced.then(Vec::new),
            nodes_known: 0,
        };
        administrators::found(&mut world);
        // A list from before a Node was made would be one from before its machine served.
        world.nodes_known = world.api.nodes.log.len();
        for who in 0..world.operators.len() {
            let kind = world.random.pick(&KINDS).filter(|_| world.random.chance(40));
            if let Some(operator) = world.operators.get_mut(who) {
                operator.deaf_to = kind;
            }
        }
        let slow = world.random.below(world.machines.len() * 2);
        for index in 0..world.machines.len() {
            if let Some(machine) = world.machines.get_mut(index) {
                machine.is_slow = index == slow;
            }
            world.start_agent(index);
            world.renew(index);
        }
        world
    }

    /// The time as agents have it. Boots are told apart by what they lose.
    pub(crate) fn time(&self) -> Now {
        let since_begin = self.now.duration_since(begin());
        Now {
            moment: Moment::since_boot(since_begin.unsigned_abs()),
            clock: self.now,
        }
    }

    /// Writes into the trace, if there is one.
    pub(crate) fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let seconds = self.now.as_millisecond() - 1_800_000_000_000;
            trace.push(format!("{:9.3} {}", seconds as f64 / 1000.0, words()));
        }
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.machines.get(index).map_or("", |machine| &machine.name)
    }

    pub(crate) fn node_key(&self, index: usize) -> Key {
        Key::new("", self.name(index))
    }

    /// Time goes by. Who cannot or does not renew is silent; after 70 s nobody waits for it.
    pub(crate) fn wait(&mut self, milliseconds: i64) {
        self.now += SignedDuration::from_millis(milliseconds);
        let patience = i64::from(crds::names::LEASE_SECONDS) + crds::names::SILENT_DIRECTOR_SECONDS;
        for machine in &mut self.machines {
            let renewed = machine.renewed(&self.api);
            let since = renewed.map(|renewed| self.now.duration_since(renewed));
            machine.excuses.given_up |= since.is_some_and(|since| since >= SignedDuration::from_secs(patience));
        }
    }

    // What happens to a node.

    pub(crate) fn reboot(&mut self, index: usize) {
        self.power_off(index);
        self.power_on(index);
    }

    pub(crate) fn power_off(&mut self, index: usize) {
        self.note(|| format!("machine {index} goes off"));
        if let Some(machine) = self.machines.get_mut(index) {
            rob(machine);
            machine.excuses.taken_unseen.clear();
            machine.power_off();
        }
    }

    pub(crate) fn power_on(&mut self, index: usize) {
        if let Some(machine) = self.machines.get_mut(index).filter(|machine| !machine.is_on) {
            machine.power_on();
            let boot = machine.boot_id();
            self.note(|| format!("{boot} is up"));
        }
    }

    /// The machine comes up without the module `ip_vs`; somebody loads it later.
    pub(crate) fn lose_module(&mut self, index: usize) {
        self.reboot(index);
        if let Some(machine) = self.machines.get_mut(index) {
            machine.foreign_services = ipvs::Table::default();
            machine.kernel().ipvs_mut().overwrite(ipvs::Table::default());
            machine.kernel().set_module_missing(true);
        }
        self.note(|| format!("machine {index} has no ip_vs"));
    }

    /// A machine that was declared off runs again: the taint goes, or the Node is made anew.
    ///
    /// An operator must have heard of that, and be done with what it decided before, by the time that the machine has
    /// booted: there is no order between versions of Nodes and of Placements, so what is believed of a machine that is off
    /// is bounded by time alone.
    pub(crate) fn come_back(&mut self, index: usize) {
        administrators::readmit(self, index);
        self.nodes_known = self.api.nodes.log.len();
        for operator in &mut self.operators {
            operator.hear(&self.api, Kind::Nodes, usize::MAX / 2);
            operator.pending.clear();
        }
        if let Some(machine) = self.machines.get_mut(index) {
            machine.is_declared_off = false;
            machine.excuses.is_revenant = true;
        }
        self.power_on(index);
    }
}

/// When every world begins.
fn begin() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or_default()
}

/// A fault takes the VIPs from a node: whoever was told that it has them was told the truth.
pub(crate) fn rob(machine: &mut Machine) {
    let had = VIPS.into_iter().filter(|vip| machine.kernel().is_local(*vip));
    let had: Vec<IpAddr> = had.collect();
    machine.excuses.robbed.extend(had);
}

/// A node with a past: services, addresses and sysctls of others, some of them on VIPs.
fn machine(random: &mut Random, index: usize) -> Machine {
    let host = u8::try_from(10 + 10 * index).unwrap_or(250);
    let mut foreign = Foreign::default();
    foreign.addresses.insert(IpAddr::V4(Ipv4Addr::new(10, 9, 9, host)));
    let own = random.chance(50).then_some(link(host));
    let on_vip = random.pick(&VIPS).filter(|vip| vip.is_ipv4() && random.chance(50));
    for address in own.into_iter().chain(on_vip) {
        let key = ServiceKey::address(Protocol::Tcp, address, 9999);
        let mut service = Service {
            config: ServiceConfig::new("rr", ipvs::Family::Ipv4),
            destinations: std::collections::BTreeMap::new(),
        };
        let config = DestinationConfig::new(ForwardingMethod::Masquerade, 7);
        service
            .destinations
            .insert(DestinationKey::new(link(250), 9999), config);
        foreign.services.services.insert(key, service);
    }
    for knob in SILENCE {
        let value = i64::try_from(random.below(4)).unwrap_or(0) - 1;
        let sysctl = Sysctl::on("eth0", knob);
        foreign.sysctls.insert(sysctl, value.max(0));
    }
    Machine::new(&format!("n{}", index + 1), host, foreign)
}
