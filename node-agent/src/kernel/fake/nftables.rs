//! nftables of the fake kernel: our table by the kernel's rules, and other people's hands in it.

use std::collections::BTreeSet;

use ipvs::{Activity, DestinationKey, ServiceKey};

use super::FakeKernel;
use crate::kernel::notify::Committed;
use crate::kernel::{Connection, KernelError};
use crate::ruleset::{Firewall, Ruleset, Table, Transaction};

#[derive(Clone, Debug, Default)]
pub(super) struct FakeNftables {
    table: Option<Table>,
    firewalls: BTreeSet<Firewall>,
    generation: u32,
    program_missing: bool,
    unsupported: bool,
    refusing: bool,
    listings: usize,
}

impl FakeNftables {
    pub(super) fn list(&mut self) -> Result<(Option<Table>, u32), KernelError> {
        let generation = self.generation()?;
        if self.table.is_some() {
            self.has_program()?;
        }
        self.listings += 1;
        Ok((self.table.clone(), generation))
    }

    pub(super) fn generation(&self) -> Result<u32, KernelError> {
        if self.unsupported {
            return Err(KernelError::RulesetUnsupported {
                message: "it has no nftables".to_owned(),
                modules: "nf_tables".to_owned(),
            });
        }
        Ok(self.generation)
    }

    pub(super) fn firewalls(&self) -> Result<BTreeSet<Firewall>, KernelError> {
        self.generation()?;
        Ok(self.firewalls.clone())
    }

    pub(super) fn apply(&mut self, transaction: &Transaction) -> Result<(), KernelError> {
        self.has_program()?;
        self.generation()?;
        let refused = |message: String| KernelError::Ruleset { message };
        if self.refusing {
            return Err(refused("Could not process rule: Operation not permitted".to_owned()));
        }
        let after = transaction.apply(self.table.as_ref());
        self.table = after.map_err(|refusal| refused(format!("Could not process rule: {refusal}")))?;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    fn has_program(&self) -> Result<(), KernelError> {
        match self.program_missing {
            true => Err(KernelError::ProgramMissing { program: "nft" }),
            false => Ok(()),
        }
    }

    /// What other people configure at boot is there again.
    pub(super) fn reboot(&mut self) {
        self.table = None;
        self.generation = 1;
    }
}

impl FakeKernel {
    /// Our table.
    #[must_use]
    pub fn table(&self) -> Option<&Table> {
        self.nftables.table.as_ref()
    }

    /// What our table makes of packets.
    #[must_use]
    pub fn nftables(&self) -> Ruleset {
        Ruleset::of(self.table())
    }

    /// Somebody else commits a transaction that changes our table (`nft flush ruleset` makes it `None`). The notification
    /// of it is returned.
    pub fn edit_table(&mut self, edit: impl FnOnce(&mut Option<Table>)) -> Committed {
        edit(&mut self.nftables.table);
        self.commit(true, false)
    }

    /// Somebody else commits a transaction about his own rules.
    pub fn commit_elsewhere(&mut self) -> Committed {
        self.commit(false, false)
    }

    /// Other people's base chains that drop by policy.
    pub fn set_firewalls(&mut self, firewalls: impl IntoIterator<Item = Firewall>) -> Committed {
        self.nftables.firewalls = firewalls.into_iter().collect();
        self.commit(false, true)
    }

    /// There is no program `nft`, or there is again.
    pub fn set_nft_missing(&mut self, missing: bool) {
        self.nftables.program_missing = missing;
    }

    /// The kernel has no nftables, or has again.
    pub fn set_nftables_unsupported(&mut self, unsupported: bool) {
        self.nftables.unsupported = unsupported;
    }

    /// Every transaction is refused, or none any more.
    pub fn refuse_ruleset(&mut self, refusing: bool) {
        self.nftables.refusing = refusing;
    }

    /// IPVS has connections to these real servers.
    pub fn set_connections(&mut self, connections: impl IntoIterator<Item = Connection>) {
        self.connections = connections.into_iter().collect();
    }

    /// So many connections are established to a destination of a service.
    pub fn set_active(&mut self, service: ServiceKey, destination: DestinationKey, active: u32) {
        let activity = Activity {
            active,
            ..Activity::default()
        };
        self.activity.insert((service, destination), activity);
    }

    /// How often our table was listed: what costs time that grows with it.
    #[must_use]
    pub fn listings(&self) -> usize {
        self.nftables.listings
    }

    fn commit(&mut self, ours: bool, firewalls: bool) -> Committed {
        self.nftables.generation = self.nftables.generation.wrapping_add(1);
        Committed {
            ours,
            firewalls,
            generation: Some(self.nftables.generation),
        }
    }
}
