//! The fake kernel behind the port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::{Activity, DestinationConfig, DestinationKey, Errno, ServiceConfig, ServiceKey, Timeouts};

use super::FakeKernel;
use crate::kernel::{Connection, Kernel, KernelError, answer};
use crate::plan::Change;
use crate::ruleset::{Firewall, Table};
use crate::state::{AddressConfig, AddressKey, Facts, Sysctl};
use crate::tunnel::{GuePort, Receiver};

impl Kernel for FakeKernel {
    fn services(&mut self) -> Result<Vec<(ServiceKey, ServiceConfig)>, KernelError> {
        self.alive()?;
        self.loaded()?;
        let services = self.ipvs.dump_services().map_err(refused)?;
        let shown = services
            .into_iter()
            .filter(|(key, _)| !self.hidden_in_dumps.contains(key));
        Ok(shown.map(|(key, config)| (key, config.clone())).collect())
    }

    fn service(&mut self, key: ServiceKey) -> Result<Option<ServiceConfig>, KernelError> {
        self.alive()?;
        self.loaded()?;
        match self.ipvs.get_service(&key) {
            Ok(config) => Ok(Some(config.clone())),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(refused(errno)),
        }
    }

    fn destinations(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, DestinationConfig>, KernelError> {
        self.alive()?;
        self.loaded()?;
        let destinations = self.ipvs.dump_destinations(&key).map_err(refused)?;
        Ok(destinations.into_iter().collect())
    }

    fn activity(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, Activity>, KernelError> {
        let destinations = self.destinations(key)?.into_keys();
        let activity = |to| self.activity.get(&(key, to)).copied().unwrap_or_default();
        Ok(destinations.map(|to| (to, activity(to))).collect())
    }

    fn timeouts(&mut self) -> Result<Timeouts, KernelError> {
        self.alive()?;
        self.loaded()?;
        Ok(self.timeouts)
    }

    fn service_count(&mut self) -> Result<usize, KernelError> {
        self.alive()?;
        self.loaded()?;
        let ipv4 = |key: &&ServiceKey| key.family() == ipvs::Family::Ipv4;
        Ok(self.ipvs.table().services.keys().filter(ipv4).count())
    }

    fn network(&mut self) -> Result<(BTreeMap<AddressKey, AddressConfig>, Facts), KernelError> {
        self.alive()?;
        let mut ours = BTreeMap::new();
        let mut facts = Facts {
            interfaces: self.interfaces.clone(),
            routes: self.routes.clone(),
            tunnels: self.tunnels.clone(),
            ..Facts::default()
        };
        facts
            .interfaces
            .values_mut()
            .for_each(|interface| interface.addressed = false);
        for (entry, held) in &self.addresses {
            let interface = entry.interface.clone();
            if held.ours {
                let key = AddressKey {
                    interface,
                    address: entry.address,
                };
                let config = AddressConfig {
                    prefix_length: entry.prefix_length,
                    scope: held.scope,
                    lifetime: held.lifetime,
                };
                ours.insert(key, config);
                continue;
            }
            if let Some(interface) = facts.interfaces.get_mut(&interface) {
                interface.addressed |= entry.address.is_ipv4();
            }
            facts.foreign_addresses.entry(entry.address).or_insert(interface);
        }
        Ok((ours, facts))
    }

    fn sysctl(&mut self, sysctl: &Sysctl) -> Result<Option<i64>, KernelError> {
        self.alive()?;
        if self.lost_sysctls {
            return Err(super::rules::file_error(
                sysctl,
                "No such file or directory (os error 2)",
            ));
        }
        Ok(self.sysctls.get(sysctl).copied())
    }

    fn gue_ports(&mut self) -> Result<BTreeMap<GuePort, Receiver>, KernelError> {
        self.alive()?;
        self.module(GuePort::MODULE)?;
        Ok(self.gue_ports.clone())
    }

    fn answered(&mut self, interface: &str, address: IpAddr) -> Result<bool, KernelError> {
        self.alive()?;
        self.interface(interface)?;
        Ok(self.answered.contains(&address))
    }

    fn ruleset(&mut self) -> Result<(Option<Table>, u32), KernelError> {
        self.alive()?;
        self.nftables.list()
    }

    fn ruleset_generation(&mut self) -> Result<u32, KernelError> {
        self.alive()?;
        self.nftables.generation()
    }

    fn firewalls(&mut self) -> Result<BTreeSet<Firewall>, KernelError> {
        self.alive()?;
        self.nftables.firewalls()
    }

    fn connections(&mut self) -> Result<Vec<Connection>, KernelError> {
        self.alive()?;
        Ok(self.connections.clone())
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), KernelError>> {
        changes.iter().map(|change| self.apply_one(change)).collect()
    }
}

impl FakeKernel {
    fn apply_one(&mut self, change: &Change) -> Result<(), KernelError> {
        self.alive()?;
        let result = self.execute(change);
        self.writes += 1;
        self.crash_after = self.crash_after.map(|left| left.saturating_sub(1));
        self.log.push(match &result {
            Ok(()) => change.to_string(),
            Err(error) => format!("{change} # {error}"),
        });
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Err(KernelError::Unknown);
        }
        result
    }

    fn execute(&mut self, change: &Change) -> Result<(), KernelError> {
        match change {
            Change::SetSysctl { sysctl, value } => self.write_sysctl(sysctl, *value),
            // With the interface went the value that was to be given back.
            Change::RestoreSysctl { sysctl, value } => match self.write_sysctl(sysctl, *value) {
                Err(KernelError::NoInterface { interface: _ }) => Ok(()),
                other => other,
            },
            Change::AddAddress { key, config } => self.add_address(key, config),
            Change::DeleteAddress { key, config } => self.delete_address(key, config),
            Change::Ipvs(change) => {
                self.loaded()?;
                answer::of_ipvs(change, self.ipvs.apply(change))
            }
            Change::SetTimeouts { timeouts } => {
                self.loaded()?;
                self.timeouts = timeouts.or(self.timeouts);
                Ok(())
            }
            Change::Tunnel(change) => self.change_tunnel(change),
            Change::GrowRuleset(transaction) | Change::ShrinkRuleset(transaction) => self.nftables.apply(transaction),
            Change::Announce { key } => self.interface(&key.interface).map(|_| ()),
        }
    }

    fn alive(&self) -> Result<(), KernelError> {
        if self.crashed() {
            return Err(KernelError::Io("this process is dead".to_owned()));
        }
        Ok(())
    }

    fn loaded(&self) -> Result<(), KernelError> {
        if self.module_missing {
            return Err(KernelError::ModuleMissing);
        }
        Ok(())
    }
}

fn refused(errno: Errno) -> KernelError {
    KernelError::Refused { errno }
}
