//! The real kernel, behind the port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipvs::message::IpvsMessage;
use ipvs::{Activity, DestinationConfig, DestinationKey, ServiceConfig, ServiceKey, Timeouts};

use super::address::Network;
use super::connections::{Connection, connections};
use super::fou::FouSocket;
use super::ipvs::{IpvsSocket, service_count};
use super::nft::Nft;
use super::sysctl::SysctlFolder;
use super::{Kernel, KernelError, announce};
use crate::plan::Change;
use crate::ruleset::{Firewall, Table};
use crate::state::{AddressConfig, AddressKey, Facts, Sysctl};
use crate::tunnel::{self, GuePort, Receiver};

/// Where the kernel is found.
#[derive(Clone, Debug)]
pub struct LinuxOptions {
    /// `/proc/sys/net`, or where it is mounted writable (containers have it read-only).
    pub proc_sys_net: PathBuf,
}

/// Linux, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Linux {
    ipvs: IpvsSocket,
    network: Network,
    sysctls: SysctlFolder,
    fou: FouSocket,
    nft: Nft,
}

impl Linux {
    /// Prepares, and asks the kernel nothing yet: sockets are opened when they are needed, and again when one fails.
    #[must_use]
    pub fn open(options: LinuxOptions) -> Self {
        let LinuxOptions { proc_sys_net } = options;
        Self {
            ipvs: IpvsSocket::new(),
            network: Network::new(),
            sysctls: SysctlFolder::new(proc_sys_net),
            fou: FouSocket::new(),
            nft: Nft::new(),
        }
    }

    fn apply_alone(&mut self, change: &Change) -> Result<(), KernelError> {
        match change {
            Change::SetSysctl { sysctl, value } => self.sysctls.write(sysctl, *value),
            // With the interface went the value that was to be given back.
            Change::RestoreSysctl { sysctl, value } => match self.sysctls.write(sysctl, *value) {
                Err(KernelError::NoInterface { interface: _ }) => Ok(()),
                other => other,
            },
            Change::AddAddress { key, config } => self.network.add(key, config),
            Change::DeleteAddress { key, config } => self.network.delete(key, config),
            Change::Announce { key } => {
                let link = self.network.link(&key.interface)?;
                announce::announce(&link, key.address)
            }
            Change::SetTimeouts { timeouts } => self.ipvs.execute(&[IpvsMessage::set_config(timeouts)]).remove(0),
            Change::Ipvs(change) => self.ipvs.apply(&[change]).remove(0),
            Change::Tunnel(change) => self.apply_tunnel(change),
            Change::GrowRuleset(transaction) | Change::ShrinkRuleset(transaction) => Nft::apply(transaction),
        }
    }

    fn apply_tunnel(&mut self, change: &tunnel::Change) -> Result<(), KernelError> {
        match change {
            tunnel::Change::AddDevice { name, tunnel } => self.network.add_tunnel(name, tunnel),
            tunnel::Change::ReplaceDevice { name, tunnel } => {
                self.network.delete_tunnel(name)?;
                self.network.add_tunnel(name, tunnel)
            }
            tunnel::Change::SetUp { name } => self.network.set_up_tunnel(name),
            tunnel::Change::DeleteDevice { name } => self.network.delete_tunnel(name),
            tunnel::Change::AddPort { port } => self.fou.add(*port),
            tunnel::Change::DeletePort { port } => self.fou.delete(*port),
        }
    }
}

impl Kernel for Linux {
    fn services(&mut self) -> Result<Vec<(ServiceKey, ServiceConfig)>, KernelError> {
        let services = self.ipvs.services()?.into_iter();
        Ok(services.map(|service| (service.key, service.config)).collect())
    }

    fn service(&mut self, key: ServiceKey) -> Result<Option<ServiceConfig>, KernelError> {
        Ok(self.ipvs.service(&key)?.map(|service| service.config))
    }

    fn destinations(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, DestinationConfig>, KernelError> {
        let destinations = self.ipvs.destinations(&key)?.into_iter();
        Ok(destinations
            .map(|destination| (destination.key, destination.config))
            .collect())
    }

    fn activity(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, Activity>, KernelError> {
        let destinations = self.ipvs.destinations(&key)?.into_iter();
        Ok(destinations
            .map(|destination| (destination.key, destination.activity))
            .collect())
    }

    fn timeouts(&mut self) -> Result<Timeouts, KernelError> {
        self.ipvs.timeouts()
    }

    fn service_count(&mut self) -> Result<usize, KernelError> {
        service_count()
    }

    fn network(&mut self) -> Result<(BTreeMap<AddressKey, AddressConfig>, Facts), KernelError> {
        self.network.read()
    }

    fn sysctl(&mut self, sysctl: &Sysctl) -> Result<Option<i64>, KernelError> {
        self.sysctls.read(sysctl)
    }

    fn gue_ports(&mut self) -> Result<BTreeMap<GuePort, Receiver>, KernelError> {
        self.fou.ports()
    }

    fn answered(&mut self, interface: &str, address: IpAddr) -> Result<bool, KernelError> {
        let link = self.network.link(interface)?;
        announce::answered(&link, address)
    }

    fn ruleset(&mut self) -> Result<(Option<Table>, u32), KernelError> {
        self.nft.read()
    }

    fn ruleset_generation(&mut self) -> Result<u32, KernelError> {
        self.nft.generation()
    }

    fn firewalls(&mut self) -> Result<BTreeSet<Firewall>, KernelError> {
        self.nft.firewalls()
    }

    fn connections(&mut self) -> Result<Vec<Connection>, KernelError> {
        connections()
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), KernelError>> {
        let mut results = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while let [change, others @ ..] = rest {
            let run: Vec<_> = rest.iter().map_while(of_ipvs).collect();
            if run.is_empty() {
                results.push(self.apply_alone(change));
                rest = others;
            } else {
                rest = &rest[run.len()..];
                results.extend(self.ipvs.apply(&run));
            }
        }
        results
    }
}

fn of_ipvs(change: &Change) -> Option<&ipvs::Change> {
    match change {
        Change::Ipvs(change) => Some(change),
        Change::SetSysctl { sysctl: _, value: _ }
        | Change::RestoreSysctl { sysctl: _, value: _ }
        | Change::AddAddress { key: _, config: _ }
        | Change::DeleteAddress { key: _, config: _ }
        | Change::SetTimeouts { timeouts: _ }
        | Change::Tunnel(_)
        | Change::GrowRuleset(_)
        | Change::ShrinkRuleset(_)
        | Change::Announce { key: _ } => None,
    }
}
