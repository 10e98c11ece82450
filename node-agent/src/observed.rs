//! What was read of the kernel: the agent's picture of it, kept between passes and corrected by reading.
//!
//! Unknown is not empty. An IPVS dump taken while anybody writes misses live entries without a sign, so an entry that the
//! picture (or the ledger) has and a dump lacks is asked for by its key, or the dump is repeated, before it counts as gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipvs::{DestinationConfig, DestinationKey, Service, ServiceConfig, ServiceKey, Table, Timeouts};

use crate::kernel::{Kernel, KernelError};
use crate::state::{AddressConfig, AddressKey, Facts, KernelState, Requirement, Sysctl};
use crate::tunnel::{GuePort, Receiver};

mod nftables;
mod source_ports;

pub use nftables::Nftables;
pub use source_ports::{Count, SourcePorts, Towards};

/// The picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The IPVS table, foreign services included.
    pub ipvs: Ipvs,
    /// The places of services in the kernel's dump.
    pub order: BTreeMap<ServiceKey, usize>,
    /// The idle timeouts, or why they could not be read; `None` = nobody asks for any, and nobody looked.
    pub timeouts: Option<Result<Timeouts, KernelError>>,
    /// The UDP ports on which tunnel packets are unwrapped.
    pub gue_ports: GuePorts,
    /// Addresses that carry our mark.
    pub addresses: BTreeMap<AddressKey, AddressConfig>,
    /// The knobs that were asked for; `None` for one of an interface that is gone, or of a module that is not loaded.
    pub sysctls: BTreeMap<Sysctl, Option<i64>>,
    /// Our table of nftables.
    pub nftables: Nftables,
    /// Real servers that IPVS has connections to; `None` while nobody needed to know.
    pub connections: Option<BTreeSet<DestinationKey>>,
    /// The source ports of FullNAT, as the last audit counted them.
    pub source_ports: BTreeMap<Towards, SourcePorts>,
    /// Why the knobs could not be read the last time; then they are as they were read before, or unknown.
    pub blind: Option<KernelError>,
    /// The rest.
    pub facts: Facts,
}

/// What is known of the IPVS table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ipvs {
    /// Not looked at: this node is no director. A look would load the module.
    #[default]
    Unread,
    /// As read.
    Read(Table),
    /// Could not be read.
    Failed(KernelError),
}

impl Ipvs {
    /// The table, where it is known.
    pub fn table(&self) -> Option<&Table> {
        match self {
            Self::Read(table) => Some(table),
            Self::Unread | Self::Failed(_) => None,
        }
    }
}

/// What is known of UDP ports on which tunnel packets are unwrapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GuePorts {
    /// Not looked at: nothing here is or was by GUE. A look would load the module.
    #[default]
    Unread,
    /// As read.
    Read(BTreeMap<GuePort, Receiver>),
    /// Could not be read.
    Failed(KernelError),
}

impl GuePorts {
    /// The ports, where they are known.
    pub fn known(&self) -> Option<&BTreeMap<GuePort, Receiver>> {
        match self {
            Self::Read(ports) => Some(ports),
            Self::Unread | Self::Failed(_) => None,
        }
    }
}

/// Whether what is known of a knob is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is: only what is not known is read.
    Kept,
    /// Everything is read again.
    Anew,
}

/// How often a dump is repeated until two agree.
const DUMPS: usize = 5;

impl Observed {
    /// VIPs that this node holds by our doing.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        self.addresses.keys().map(|key| key.address).collect()
    }

    /// The value of a knob, where there is one.
    pub fn sysctl(&self, sysctl: &Sysctl) -> Option<i64> {
        self.sysctls.get(sysctl).copied().flatten()
    }

    /// Whether a knob is as it must be. One that is not there is not.
    pub fn fulfils(&self, sysctl: &Sysctl, requirement: Requirement) -> bool {
        let all = self.sysctl(&Sysctl::of_all(sysctl.knob));
        self.sysctl(sysctl).is_some_and(|own| requirement.holds(own, all))
    }

    /// A knob of the whole node that is asked for and is not there. One of an interface that is gone is no want.
    pub fn missing_knob<'a>(&self, desired: &'a KernelState) -> Option<&'a Sysctl> {
        let of_node = desired.sysctls.keys().filter(|sysctl| sysctl.interface.is_none());
        let mut missing = of_node.filter(|sysctl| self.blind.is_none() && self.sysctl(sysctl).is_none());
        missing.next()
    }

    /// Reads links, addresses, routes.
    ///
    /// # Errors
    /// As the kernel says; the picture stays as it was.
    pub fn read_network(&mut self, kernel: &mut impl Kernel) -> Result<(), KernelError> {
        let (addresses, facts) = kernel.network()?;
        let answered = std::mem::take(&mut self.facts.answered);
        let firewalls = std::mem::take(&mut self.facts.firewalls);
        let cut = std::mem::take(&mut self.facts.cut);
        self.addresses = addresses;
        self.facts = Facts {
            answered,
            firewalls,
            cut,
            ..facts
        };
        Ok(())
    }

    /// Reads these knobs: all of them anew, or those of which nothing is known yet. Where that fails, the picture of them
    /// stays as it was, and says so: hosts need them, directors do not always.
    pub fn read_sysctls(&mut self, kernel: &mut impl Kernel, wanted: &BTreeSet<Sysctl>, freshness: Freshness) {
        match self.knobs(kernel, wanted, freshness) {
            Ok(sysctls) => (self.sysctls, self.blind) = (sysctls, None),
            Err(error) => self.blind = Some(error),
        }
    }

    fn knobs(
        &self,
        kernel: &mut impl Kernel,
        wanted: &BTreeSet<Sysctl>,
        freshness: Freshness,
    ) -> Result<BTreeMap<Sysctl, Option<i64>>, KernelError> {
        let mut sysctls = BTreeMap::new();
        for sysctl in wanted {
            let known = match freshness {
                Freshness::Kept => self.sysctl(sysctl),
                Freshness::Anew => None,
            };
            let value = match known {
                Some(value) => Some(value),
                None => kernel.sysctl(sysctl)?,
            };
            sysctls.insert(sysctl.clone(), value);
        }
        Ok(sysctls)
    }

    /// Reads the whole IPVS table. What the picture or `expected` has and the dump lacks is asked for by key.
    pub fn read_ipvs(&mut self, kernel: &mut impl Kernel, expected: &BTreeSet<ServiceKey>) {
        self.ipvs = match self.whole_table(kernel, expected) {
            Ok(table) => Ipvs::Read(table),
            // Without the module there is no table: that is an answer, and the report says which module to load.
            Err(error) => Ipvs::Failed(error),
        };
    }

    fn whole_table(&mut self, kernel: &mut impl Kernel, expected: &BTreeSet<ServiceKey>) -> Result<Table, KernelError> {
        let dumped = kernel.services()?;
        self.remember_order(&dumped, expected);
        let mut configs: BTreeMap<_, _> = dumped.into_iter().collect();
        let former = self.ipvs.table().into_iter().flat_map(|table| table.services.keys());
        for key in former.chain(expected) {
            if !configs.contains_key(key)
                && let Some(config) = kernel.service(*key)?
            {
                configs.insert(*key, config);
            }
        }
        let mut table = Table::default();
        for (key, config) in configs {
            let destinations = self.destinations(kernel, key)?;
            table.services.insert(key, Service { config, destinations });
        }
        Ok(table)
    }

    /// Keeps the order of the last dump that held a service, also of those that it lacks and that are `expected`: after a
    /// flush it is what tells how to repair it.
    pub fn remember_order(&mut self, dumped: &[(ServiceKey, ServiceConfig)], expected: &BTreeSet<ServiceKey>) {
        let is_there: BTreeSet<&ServiceKey> = dumped.iter().map(|(key, _)| key).collect();
        self.order
            .retain(|key, _| is_there.contains(key) || expected.contains(key));
        for (place, (key, _)) in dumped.iter().enumerate() {
            self.order.insert(*key, place);
        }
    }

    /// Reads the ports of GUE.
    pub fn read_gue_ports(&mut self, kernel: &mut impl Kernel) {
        self.gue_ports = match kernel.gue_ports() {
            Ok(ports) => GuePorts::Read(ports),
            // Without the module there are none, which adding one will find, too.
            Err(error) => GuePorts::Failed(error),
        };
    }

    /// Reads one service again. Says whether the picture was another one.
    pub fn read_service(&mut self, kernel: &mut impl Kernel, key: ServiceKey) -> bool {
        let read = kernel.service(key).and_then(|config| {
            config
                .map(|config| {
                    Ok(Service {
                        config,
                        destinations: self.destinations(kernel, key)?,
                    })
                })
                .transpose()
        });
        match (read, &mut self.ipvs) {
            (Ok(service), Ipvs::Read(table)) => {
                let differs = table.services.get(&key) != service.as_ref();
                match service {
                    Some(service) => table.services.insert(key, service),
                    None => table.services.remove(&key),
                };
                differs
            }
            (Err(error), ipvs) => {
                let failed = Ipvs::Failed(error);
                let differs = *ipvs != failed;
                *ipvs = failed;
                differs
            }
            // Nothing is known of the table: one service does not make one.
            (Ok(_), Ipvs::Unread | Ipvs::Failed(_)) => false,
        }
    }

    fn destinations(
        &self,
        kernel: &mut impl Kernel,
        key: ServiceKey,
    ) -> Result<BTreeMap<DestinationKey, DestinationConfig>, KernelError> {
        let former = self.ipvs.table().and_then(|table| table.services.get(&key));
        let mut read = kernel.destinations(key)?;
        let lacks = |read: &BTreeMap<_, _>| {
            former.is_some_and(|service| service.destinations.keys().any(|key| !read.contains_key(key)))
        };
        for _ in 0..DUMPS {
            if !lacks(&read) {
                break;
            }
            let again = kernel.destinations(key)?;
            let agree = again == read;
            read = again;
            if agree {
                break;
            }
        }
        Ok(read)
    }
}
