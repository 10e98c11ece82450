//! What was read of nftables: our table, and how it is known to be as it was.
//!
//! Every transaction of anybody in the network namespace counts the generation up by one. As long as that number stands
//! still nothing has to be listed again; and when it went up by exactly our own transactions, what they changed is all that
//! changed. Listing costs a second at 50,000 elements, so a change of one is not followed by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipvs::DestinationKey;

use super::Observed;
use crate::kernel::{Kernel, KernelError};
use crate::ruleset::{Ruleset, Table, Transaction};
use crate::state::KernelState;

/// What is known of our table.
#[derive(Clone, Debug, Default)]
pub enum Nftables {
    /// Not looked at yet.
    #[default]
    Unread,
    /// As read.
    Read {
        /// The table; `None` when there is none.
        table: Option<Arc<Table>>,
        /// The generation of which it is.
        generation: u32,
    },
    /// Could not be read.
    Failed(KernelError),
}

impl PartialEq for Nftables {
    /// Transactions that left our table alone are no difference.
    fn eq(&self, other: &Self) -> bool {
        (self.table(), self.error()) == (other.table(), other.error())
    }
}

impl Eq for Nftables {}

impl Nftables {
    /// The table, where it is known.
    pub fn table(&self) -> Option<Option<&Table>> {
        match self {
            Self::Read { table, generation: _ } => Some(table.as_deref()),
            Self::Unread | Self::Failed(_) => None,
        }
    }

    /// Why it could not be read.
    pub fn error(&self) -> Option<&KernelError> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Unread | Self::Read { .. } => None,
        }
    }
}

impl Observed {
    /// Lists our table, unless nothing was committed since it was listed.
    pub fn read_nftables(&mut self, kernel: &mut impl Kernel) {
        if let Nftables::Read { table: _, generation } = &self.nftables
            && kernel.ruleset_generation() == Ok(*generation)
        {
            return;
        }
        self.nftables = match kernel.ruleset() {
            Ok((table, generation)) => Nftables::Read {
                table: table.map(Arc::new),
                generation,
            },
            Err(error) => Nftables::Failed(error),
        };
    }

    /// After transactions of ours that the kernel took, and `refused` of which nothing is known: what our table is now.
    pub fn read_nftables_back(&mut self, kernel: &mut impl Kernel, done: &[&Transaction], refused: bool) {
        if !refused
            && let Nftables::Read { table, generation } = &mut self.nftables
            && done.iter().all(|transaction| transaction.is_elements_only())
            && let Ok(count) = u32::try_from(done.len())
            && kernel.ruleset_generation() == Ok(generation.wrapping_add(count))
            && let Ok(after) = done.iter().try_fold(table.as_deref().cloned(), |table, transaction| {
                transaction.apply(table.as_ref())
            })
        {
            *generation = generation.wrapping_add(count);
            *table = after.map(Arc::new);
            return;
        }
        self.nftables = Nftables::Unread;
        self.read_nftables(kernel);
    }

    /// Whether a transaction of this generation may have changed what is known of our table.
    pub fn is_news(&self, committed: Option<u32>) -> bool {
        match (&self.nftables, committed) {
            (Nftables::Read { table: _, generation }, Some(committed)) => {
                committed.wrapping_sub(*generation).cast_signed() > 0
            }
            (Nftables::Unread | Nftables::Failed(_) | Nftables::Read { .. }, _) => true,
        }
    }

    /// Whether something is asked of nftables, and it could not be read what it has.
    pub fn lacks_ruleset(&self, desired: &KernelState) -> bool {
        self.nftables.error().is_some() && desired.ruleset != Ruleset::default()
    }

    /// Reads other people's base chains. Where that fails, they are as they were known.
    pub fn read_firewalls(&mut self, kernel: &mut impl Kernel) {
        if let Ok(firewalls) = kernel.firewalls() {
            self.facts.firewalls = firewalls;
        }
    }

    /// Reads which real servers IPVS has connections to.
    pub fn read_connections(&mut self, kernel: &mut impl Kernel) {
        let connections = kernel.connections().ok();
        self.connections =
            connections.map(|connections| connections.iter().map(|connection| connection.destination).collect());
    }

    /// Real servers with connections; `None` while that is unknown.
    pub fn connected(&self) -> Option<&BTreeSet<DestinationKey>> {
        self.connections.as_ref()
    }
}
