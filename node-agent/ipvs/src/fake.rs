//! A kernel that is not there: it executes operations by IPVS's rules and answers with its error numbers.
//!
//! The rules were measured on 6.12 and 7.2 (which answer alike but for one threshold, see
//! [`FakeIpvs::refuse_large_thresholds`]); random operations are played against real kernels and compared, results and
//! tables. It checks what the kernel checks, in the kernel's order, and accepts whatever the kernel accepts: protocol
//! 50, port 0 without persistence, scheduler flags that mean nothing, weight 2^31 − 1, unroutable destinations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::diff::Change;
use crate::errno::{Errno, Verb};
use crate::operation::Operation;
use crate::table::{DestinationConfig, DestinationKey, ServiceConfig, ServiceKey, Table};

mod rules;

/// The schedulers of Linux 6.1 to 7.2, all of them available at first.
pub const SCHEDULERS: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];

/// IPVS of one network namespace, as a value.
#[derive(Clone, Debug)]
pub struct FakeIpvs {
    table: Table,
    schedulers: BTreeSet<String>,
    persistence_engines: BTreeSet<String>,
    broadcast_addresses: BTreeSet<IpAddr>,
    refusals: BTreeMap<(ServiceKey, Option<DestinationKey>), Errno>,
    module_missing: bool,
    no_addresses: bool,
    sync_daemon: bool,
    large_thresholds_refused: bool,
    executed: BTreeMap<Verb, u64>,
}

impl Default for FakeIpvs {
    fn default() -> Self {
        Self {
            table: Table::default(),
            schedulers: SCHEDULERS.iter().map(|name| (*name).to_owned()).collect(),
            persistence_engines: BTreeSet::new(),
            broadcast_addresses: BTreeSet::new(),
            refusals: BTreeMap::new(),
            module_missing: false,
            no_addresses: false,
            sync_daemon: false,
            large_thresholds_refused: true,
            executed: BTreeMap::new(),
        }
    }
}

impl FakeIpvs {
    /// A kernel with `ip_vs`, all schedulers, no persistence engine and an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Executes one request.
    ///
    /// Errors: the kernel's answer; nothing is changed then.
    pub fn execute(&mut self, operation: &Operation) -> Result<(), Errno> {
        *self.executed.entry(operation.verb()).or_default() += 1;
        if self.module_missing {
            return Err(Errno::ENOENT);
        }
        rules::execute(self, operation)
    }

    /// Executes one change, by way of the request that the socket sends for it.
    ///
    /// Errors: the kernel's answer; nothing is changed then.
    pub fn apply(&mut self, change: &Change) -> Result<(), Errno> {
        self.execute(&Operation::from(change))
    }

    /// The whole table, as it would be read back.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Somebody else writes: the table becomes this one, without a rule being asked (`ipvsadm -C` = an empty one).
    pub fn overwrite(&mut self, table: Table) {
        self.table = table;
    }

    /// GET_SERVICE of one key.
    ///
    /// Errors: ESRCH if there is none; ENOENT while the module is missing.
    pub fn get_service(&self, key: &ServiceKey) -> Result<&ServiceConfig, Errno> {
        self.loaded()?;
        self.table
            .services
            .get(key)
            .map(|service| &service.config)
            .ok_or(Errno::ESRCH)
    }

    /// The dump of GET_SERVICE.
    ///
    /// Errors: ENOENT while the module is missing.
    pub fn dump_services(&self) -> Result<Vec<(ServiceKey, &ServiceConfig)>, Errno> {
        self.loaded()?;
        Ok(self
            .table
            .services
            .iter()
            .map(|(key, service)| (*key, &service.config))
            .collect())
    }

    /// The dump of GET_DEST for one service: empty, and no error, if there is no such service.
    ///
    /// Errors: ENOENT while the module is missing.
    pub fn dump_destinations(&self, key: &ServiceKey) -> Result<Vec<(DestinationKey, DestinationConfig)>, Errno> {
        self.loaded()?;
        let service = self.table.services.get(key);
        let destinations = service.into_iter().flat_map(|service| &service.destinations);
        Ok(destinations.map(|(key, config)| (*key, *config)).collect())
    }

    /// How many requests of each verb were executed, refused ones as well.
    #[must_use]
    pub fn executed(&self) -> &BTreeMap<Verb, u64> {
        &self.executed
    }

    /// How many requests were executed in all, refused ones as well.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.executed.values().sum()
    }

    /// Which schedulers this kernel has, beside `none`.
    pub fn set_schedulers<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.schedulers = names.into_iter().map(str::to_owned).collect();
    }

    /// Which persistence engines this kernel has.
    pub fn set_persistence_engines<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.persistence_engines = names.into_iter().map(str::to_owned).collect();
    }

    /// Addresses that the namespace's routes take for broadcast (10.255.255.255 beside 10.0.0.1/8).
    pub fn set_broadcast_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.broadcast_addresses = addresses.into_iter().collect();
    }

    /// The module is not loaded: every request is answered ENOENT. The table survives for the time when it is again.
    pub fn set_module_missing(&mut self, missing: bool) {
        self.module_missing = missing;
    }

    /// The namespace has no IPv4 address at all, not even on `lo`: every IPv4 destination is "not unicast".
    pub fn set_no_addresses(&mut self, none: bool) {
        self.no_addresses = none;
    }

    /// A sync daemon runs: destinations of the other family are refused.
    pub fn set_sync_daemon(&mut self, runs: bool) {
        self.sync_daemon = runs;
    }

    /// Whether a threshold of 2^31 or more is refused (7.2: EINVAL) or taken (6.12). At first it is refused.
    pub fn refuse_large_thresholds(&mut self, refused: bool) {
        self.large_thresholds_refused = refused;
    }

    /// Every write of this service, or of this destination of it, is answered with this error from now on.
    pub fn refuse(&mut self, service: ServiceKey, destination: Option<DestinationKey>, errno: Errno) {
        self.refusals.insert((service, destination), errno);
    }

    /// Ends what [`Self::refuse`] began, for every key.
    pub fn refuse_nothing(&mut self) {
        self.refusals.clear();
    }

    fn loaded(&self) -> Result<(), Errno> {
        if self.module_missing {
            Err(Errno::ENOENT)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
