//! A kernel that interprets changes by the kernel's rules: what exists already, what is gone, what answers ARP.
//!
//! It has no clock and no randomness: the same calls give the same answers. Its hooks play everybody else: an
//! administrator, a reboot, a process that dies between two writes, an answer that is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::{Activity, DestinationKey, Errno, FakeIpvs, ServiceKey, Table, Timeouts};

use crate::kernel::Connection;
use crate::state::{AddressKey, AddressScope, Interface, Knob, LOOPBACK, Route, Sysctl};
use crate::tunnel::{GuePort, ReadTunnel, Receiver, is_name_of_ours};

mod nftables;
mod port;
mod rules;
mod tunnels;

/// The kernel's own (net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_udp.c).
const TIMEOUTS: Timeouts = Timeouts {
    tcp: 900,
    tcp_fin: 120,
    udp: 300,
};

/// One host's kernel, as a value.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    ipvs: FakeIpvs,
    timeouts: Timeouts,
    module_missing: bool,
    hidden_in_dumps: BTreeSet<ServiceKey>,
    addresses: BTreeMap<AddressEntry, Held>,
    interfaces: BTreeMap<String, Interface>,
    routes: BTreeSet<Route>,
    tunnels: BTreeMap<String, ReadTunnel>,
    gue_ports: BTreeMap<GuePort, Receiver>,
    missing_modules: BTreeSet<&'static str>,
    sysctls: BTreeMap<Sysctl, i64>,
    boot_sysctls: BTreeMap<Sysctl, i64>,
    read_only_sysctls: bool,
    lost_sysctls: bool,
    refused_addresses: BTreeMap<AddressKey, Errno>,
    answered: BTreeSet<IpAddr>,
    nftables: nftables::FakeNftables,
    connections: Vec<Connection>,
    activity: BTreeMap<(ServiceKey, DestinationKey), Activity>,
    crash_after: Option<usize>,
    lost_answers: usize,
    writes: usize,
    log: Vec<String>,
}

/// The kernel tells IPv4 addresses apart by prefix length too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AddressEntry {
    interface: String,
    address: IpAddr,
    prefix_length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    scope: AddressScope,
    lifetime: Option<u32>,
    ours: bool,
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeKernel {
    /// A host with IPVS and all schedulers, with `lo` and nothing else.
    #[must_use]
    pub fn new() -> Self {
        let mut kernel = Self {
            ipvs: FakeIpvs::new(),
            timeouts: TIMEOUTS,
            module_missing: false,
            hidden_in_dumps: BTreeSet::new(),
            addresses: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            routes: BTreeSet::new(),
            tunnels: BTreeMap::new(),
            gue_ports: BTreeMap::new(),
            missing_modules: BTreeSet::new(),
            sysctls: rules::sysctls_of_a_node(),
            boot_sysctls: BTreeMap::new(),
            read_only_sysctls: false,
            lost_sysctls: false,
            refused_addresses: BTreeMap::new(),
            answered: BTreeSet::new(),
            nftables: nftables::FakeNftables::default(),
            connections: Vec::new(),
            activity: BTreeMap::new(),
            crash_after: None,
            lost_answers: 0,
            writes: 0,
            log: Vec::new(),
        };
        let lo = Interface {
            index: 1,
            up: true,
            ..Interface::default()
        };
        kernel.set_interface(LOOPBACK, lo);
        kernel
    }

    /// A host with one Ethernet interface `eth0` that is up and has this address (/24) and the routes that follow from it.
    #[must_use]
    pub fn with_node_address(address: std::net::Ipv4Addr) -> Self {
        let mut kernel = Self::new();
        let eth0 = Interface {
            index: 2,
            up: true,
            arp: true,
            mtu: 1500,
            ..Interface::default()
        };
        kernel.set_interface("eth0", eth0);
        kernel.add_foreign_address("eth0", IpAddr::V4(address), 24);
        if let Ok(network) = ipnet::Ipv4Net::new(address, 24) {
            kernel.add_route(Route {
                network: network.trunc().into(),
                metric: 0,
                interface: "eth0".to_owned(),
                gateway: None,
                source: Some(IpAddr::V4(address)),
            });
        }
        kernel
    }

    /// Makes or changes an interface; `addressed` in it is ignored, the kernel knows better. A new one starts with sysctls 0.
    pub fn set_interface(&mut self, name: &str, interface: Interface) {
        self.interfaces.insert(name.to_owned(), interface);
        for (knob, value) in rules::KNOBS_OF_INTERFACES {
            self.sysctls.entry(Sysctl::on(name, knob)).or_insert(value);
        }
    }

    /// Takes an interface away, with its addresses, routes and sysctls.
    pub fn remove_interface(&mut self, name: &str) {
        self.interfaces.remove(name);
        self.tunnels.remove(name);
        self.addresses.retain(|entry, _| entry.interface != name);
        self.routes.retain(|route| route.interface != name);
        self.sysctls
            .retain(|sysctl, _| sysctl.interface.as_deref() != Some(name));
    }

    /// Adds a route.
    pub fn add_route(&mut self, route: Route) {
        self.routes.insert(route);
    }

    /// Takes every route away that leads to this network.
    pub fn remove_routes(&mut self, network: ipnet::IpNet) {
        self.routes.retain(|route| route.network != network);
    }

    /// Somebody else adds an address, of scope global and without our mark. It survives a reboot.
    pub fn add_foreign_address(&mut self, interface: &str, address: IpAddr, prefix_length: u8) {
        let held = Held {
            scope: AddressScope::Global,
            lifetime: None,
            ours: false,
        };
        self.addresses.insert(entry(interface, address, prefix_length), held);
    }

    /// Somebody else deletes an address (`ip address del`), ours or not, whatever its prefix length.
    pub fn remove_address(&mut self, interface: &str, address: IpAddr) {
        self.addresses
            .retain(|entry, _| entry.interface != interface || entry.address != address);
    }

    /// Time goes by until every finite lifetime has ended.
    pub fn expire_addresses(&mut self) {
        self.addresses.retain(|_, held| held.lifetime.is_none());
    }

    /// Somebody else writes a sysctl. It is over with the next reboot.
    pub fn set_sysctl(&mut self, sysctl: Sysctl, value: i64) {
        self.sysctls.insert(sysctl, value);
    }

    /// The module goes to which a knob belongs.
    pub fn remove_sysctl(&mut self, sysctl: &Sysctl) {
        self.sysctls.remove(sysctl);
    }

    /// What a file of sysctl.d sets at every boot, and now.
    pub fn set_boot_sysctl(&mut self, sysctl: Sysctl, value: i64) {
        self.boot_sysctls.insert(sysctl.clone(), value);
        self.sysctls.insert(sysctl, value);
    }

    /// Somebody else sets the idle timeouts (`ipvsadm --set`).
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts.or(self.timeouts);
    }

    /// `/proc/sys` is mounted read-only, or writable again.
    pub fn set_read_only_sysctls(&mut self, read_only: bool) {
        self.read_only_sysctls = read_only;
    }

    /// `/proc/sys/net` is not where it was said to be, or is there again.
    pub fn set_lost_sysctls(&mut self, lost: bool) {
        self.lost_sysctls = lost;
    }

    /// IPVS, to be looked at.
    #[must_use]
    pub fn ipvs(&self) -> &FakeIpvs {
        &self.ipvs
    }

    /// IPVS, for somebody else's hands: [`FakeIpvs::overwrite`], [`FakeIpvs::refuse`], schedulers that are missing.
    pub fn ipvs_mut(&mut self) -> &mut FakeIpvs {
        &mut self.ipvs
    }

    /// Every write of this service, or of this destination, is refused from now on.
    pub fn refuse_ipvs(&mut self, service: ServiceKey, destination: Option<DestinationKey>, errno: Errno) {
        self.ipvs.refuse(service, destination, errno);
    }

    /// Every change of this address is refused from now on.
    pub fn refuse_address(&mut self, key: AddressKey, errno: Errno) {
        self.refused_addresses.insert(key, errno);
    }

    /// Ends all refusals.
    pub fn refuse_nothing(&mut self) {
        self.ipvs.refuse_nothing();
        self.refused_addresses.clear();
    }

    /// There is no `ip_vs` in this kernel, or there is again.
    pub fn set_module_missing(&mut self, missing: bool) {
        self.module_missing = missing;
    }

    /// Dumps leave these services out without a sign, as they do while somebody writes; a look-up of one finds it.
    pub fn hide_in_dumps(&mut self, services: impl IntoIterator<Item = ServiceKey>) {
        self.hidden_in_dumps = services.into_iter().collect();
    }

    /// Somebody on the link answers an ARP probe for these addresses.
    pub fn set_answered(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.answered = addresses.into_iter().collect();
    }

    /// The process dies when this many more changes have been executed: every later call fails. `None` = it lives (again).
    pub fn crash_after(&mut self, writes: Option<usize>) {
        self.crash_after = writes;
    }

    /// Whether the process has died.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.crash_after == Some(0)
    }

    /// The answers to the next changes are lost: they are executed, and their result is [`crate::kernel::KernelError::Unknown`].
    pub fn lose_answers(&mut self, count: usize) {
        self.lost_answers = count;
    }

    /// A reboot: IPVS, our addresses and all sysctls are as if nobody had ever set them. What the host configures at
    /// boot (interfaces, addresses of others, routes, [`FakeKernel::set_boot_sysctl`]) is there again.
    pub fn reboot(&mut self) {
        self.ipvs.overwrite(Table::default());
        self.timeouts = TIMEOUTS;
        self.addresses.retain(|_, held| !held.ours);
        self.nftables.reboot();
        self.connections.clear();
        self.activity.clear();
        for (sysctl, value) in &mut self.sysctls {
            *value = rules::default_of(sysctl.knob);
        }
        self.sysctls.extend(self.boot_sysctls.clone());
        self.hidden_in_dumps.clear();
        self.crash_after = None;
        self.lost_answers = 0;
    }

    /// How many changes were executed, refused ones as well.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.writes
    }

    /// What was executed, in the words of [`crate::plan::Change`], a refusal behind ` # `.
    #[must_use]
    pub fn log(&self) -> &[String] {
        &self.log
    }

    /// Takes the log away.
    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Whether an interface other than `lo` has the address.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let is_of_host = |entry: &AddressEntry| entry.interface == LOOPBACK || is_name_of_ours(&entry.interface);
        self.addresses
            .keys()
            .any(|entry| entry.address == address && !is_of_host(entry))
    }

    /// Whether any interface has the address: the host takes packets for it.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.keys().any(|entry| entry.address == address)
    }

    /// Whether the host answers an ARP request for the address on some link (`arp_ignore()` in net/ipv4/arp.c). A VIP
    /// on `lo` is answered for unless `arp_ignore` of the *receiving* interface, or of `all`, forbids it.
    #[must_use]
    pub fn answers_arp(&self, address: IpAddr) -> bool {
        let listening = |interface: &Interface| interface.up && interface.arp && !interface.enslaved;
        self.interfaces
            .iter()
            .filter(|(_, interface)| listening(interface))
            .any(|(name, _)| self.answers_arp_on(name, address))
    }

    fn answers_arp_on(&self, interface: &str, address: IpAddr) -> bool {
        let mut held = self.addresses.iter().filter(|(entry, _)| entry.address == address);
        match self.effective(interface, Knob::ArpIgnore) {
            1 | 2 => held.any(|(entry, _)| entry.interface == interface),
            3 => held.any(|(_, held)| held.scope != AddressScope::Host),
            8 => false,
            _ => held.next().is_some(),
        }
    }

    /// The value that the kernel goes by: the greater of `all` and the interface.
    #[must_use]
    pub fn effective(&self, interface: &str, knob: Knob) -> i64 {
        let value = |interface: &str| self.sysctls.get(&Sysctl::on(interface, knob)).copied().unwrap_or(0);
        value("all").max(value(interface))
    }
}

fn entry(interface: &str, address: IpAddr, prefix_length: u8) -> AddressEntry {
    AddressEntry {
        interface: interface.to_owned(),
        address,
        prefix_length,
    }
}

#[cfg(test)]
mod tests;
