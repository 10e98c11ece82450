//! A kernel behind a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipvs::{Activity, DestinationConfig, DestinationKey, ServiceConfig, ServiceKey, Timeouts};
use node_agent::kernel::{Connection, Kernel, KernelError};
use node_agent::plan::Change;
use node_agent::ruleset::{Firewall, Table};
use node_agent::state::{AddressConfig, AddressKey, Facts, Sysctl};
use node_agent::tunnel::{GuePort, Receiver};

use crate::clock;

/// Counts and times what goes through.
#[derive(Debug)]
pub(crate) struct Timed<K> {
    kernel: K,
    measured: Measured,
}

/// What went through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Changes.
    pub(crate) changes: usize,
    /// The time of them.
    pub(crate) applying: Duration,
    /// Questions about IPVS.
    pub(crate) reads: usize,
    /// The time of them.
    pub(crate) reading: Duration,
}

impl<K: Kernel> Timed<K> {
    pub(crate) fn new(kernel: K) -> Self {
        Self {
            kernel,
            measured: Measured::default(),
        }
    }

    /// What went through since the last time.
    pub(crate) fn take(&mut self) -> Measured {
        std::mem::take(&mut self.measured)
    }

    fn read<T>(&mut self, question: impl FnOnce(&mut K) -> T) -> T {
        let begin = clock();
        let answer = question(&mut self.kernel);
        self.measured.reading += begin.elapsed();
        self.measured.reads += 1;
        answer
    }
}

impl<K: Kernel> Kernel for Timed<K> {
    fn services(&mut self) -> Result<Vec<(ServiceKey, ServiceConfig)>, KernelError> {
        self.read(Kernel::services)
    }

    fn service(&mut self, key: ServiceKey) -> Result<Option<ServiceConfig>, KernelError> {
        self.read(|kernel| kernel.service(key))
    }

    fn destinations(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, DestinationConfig>, KernelError> {
        self.read(|kernel| kernel.destinations(key))
    }

    fn activity(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, Activity>, KernelError> {
        self.read(|kernel| kernel.activity(key))
    }

    fn timeouts(&mut self) -> Result<Timeouts, KernelError> {
        self.read(Kernel::timeouts)
    }

    fn service_count(&mut self) -> Result<usize, KernelError> {
        self.kernel.service_count()
    }

    fn network(&mut self) -> Result<(BTreeMap<AddressKey, AddressConfig>, Facts), KernelError> {
        self.kernel.network()
    }

    fn sysctl(&mut self, sysctl: &Sysctl) -> Result<Option<i64>, KernelError> {
        self.kernel.sysctl(sysctl)
    }

    fn gue_ports(&mut self) -> Result<BTreeMap<GuePort, Receiver>, KernelError> {
        self.kernel.gue_ports()
    }

    fn answered(&mut self, interface: &str, address: IpAddr) -> Result<bool, KernelError> {
        self.kernel.answered(interface, address)
    }

    fn ruleset(&mut self) -> Result<(Option<Table>, u32), KernelError> {
        self.kernel.ruleset()
    }

    fn ruleset_generation(&mut self) -> Result<u32, KernelError> {
        self.kernel.ruleset_generation()
    }

    fn firewalls(&mut self) -> Result<BTreeSet<Firewall>, KernelError> {
        self.kernel.firewalls()
    }

    fn connections(&mut self) -> Result<Vec<Connection>, KernelError> {
        self.kernel.connections()
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), KernelError>> {
        let begin = clock();
        let results = self.kernel.apply(changes);
        self.measured.applying += begin.elapsed();
        self.measured.changes += changes.len();
        results
    }
}
