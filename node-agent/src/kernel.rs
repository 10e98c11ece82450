//! The port to the kernel. Only this folder touches it; everything above works on values, and on a fake in tests.
//!
//! The calls block: the kernel answers netlink in the caller's context, in microseconds. Each one works in the network
//! namespace that the process was started in.

mod address;
mod announce;
mod answer;
mod connections;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fou;
mod generic;
pub mod ipvs;
mod link;
pub mod linux;
mod nft;
pub mod notify;
mod program;
mod socket;
mod sysctl;

pub use connections::Connection;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ::ipvs::{Activity, DestinationConfig, DestinationKey, ServiceConfig, ServiceKey, Timeouts};

use crate::plan::Change;
use crate::ruleset::{Firewall, Table};
use crate::state::{AddressConfig, AddressKey, Facts, Sysctl};
use crate::tunnel::{GuePort, Receiver};

/// What a pass needs of a kernel.
///
/// Guarantees that callers rely on: a read that fails is an error, never an empty answer; a change that is refused
/// disturbs none of its neighbours.
pub trait Kernel {
    /// All services, by a dump, in the kernel's order, which is the one in which a flush deletes them. A dump that others write into meanwhile misses entries without a sign: absence is
    /// believed only after [`Kernel::service`] says so too.
    ///
    /// # Errors
    /// [`KernelError::ModuleMissing`] when there is no IPVS; others as the kernel says.
    fn services(&mut self) -> Result<Vec<(ServiceKey, ServiceConfig)>, KernelError>;

    /// One service; `None` is the kernel's word (ESRCH) that it does not exist.
    ///
    /// # Errors
    /// As [`Kernel::services`].
    fn service(&mut self, key: ServiceKey) -> Result<Option<ServiceConfig>, KernelError>;

    /// The destinations of one service. The kernel answers an empty list for a service that does not exist.
    ///
    /// # Errors
    /// As [`Kernel::services`].
    fn destinations(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, DestinationConfig>, KernelError>;

    /// The connections of each destination of one service.
    ///
    /// # Errors
    /// As [`Kernel::services`].
    fn activity(&mut self, key: ServiceKey) -> Result<BTreeMap<DestinationKey, Activity>, KernelError>;

    /// The idle timeouts.
    ///
    /// # Errors
    /// As [`Kernel::services`].
    fn timeouts(&mut self) -> Result<Timeouts, KernelError>;

    /// How many services there are (IPv4 and mark services): the cheap look whether IPVS was flushed.
    ///
    /// # Errors
    /// As [`Kernel::services`].
    fn service_count(&mut self) -> Result<usize, KernelError>;

    /// Our addresses, and the facts. [`Facts::answered`] and [`Facts::firewalls`] are left empty.
    ///
    /// # Errors
    /// As the kernel says; an interrupted dump is repeated.
    fn network(&mut self) -> Result<(BTreeMap<AddressKey, AddressConfig>, Facts), KernelError>;

    /// The value of a knob; `None` when its interface is gone, or its module is not loaded.
    ///
    /// # Errors
    /// The file cannot be read, or holds no number.
    fn sysctl(&mut self, sysctl: &Sysctl) -> Result<Option<i64>, KernelError>;

    /// The UDP ports on which tunnel packets are unwrapped.
    ///
    /// # Errors
    /// [`KernelError::NoModule`] when there is no `fou`; others as the kernel says.
    fn gue_ports(&mut self) -> Result<BTreeMap<GuePort, Receiver>, KernelError>;

    /// Whether somebody on the link answers an ARP probe (RFC 5227) for the address. Takes up to a second.
    ///
    /// # Errors
    /// No such interface, or no raw socket.
    fn answered(&mut self, interface: &str, address: IpAddr) -> Result<bool, KernelError>;

    /// Our table of nftables, `None` when there is none; and a generation of which it is.
    ///
    /// # Errors
    /// [`KernelError::ProgramMissing`] when there is a table and nobody to list it; others as nftables says.
    fn ruleset(&mut self) -> Result<(Option<Table>, u32), KernelError>;

    /// How many transactions nftables has seen: while the number stands, nobody changed anything.
    ///
    /// # Errors
    /// [`KernelError::RulesetUnsupported`] when there is no nftables.
    fn ruleset_generation(&mut self) -> Result<u32, KernelError>;

    /// Base chains of other people's tables that drop by policy.
    ///
    /// # Errors
    /// As [`Kernel::ruleset_generation`].
    fn firewalls(&mut self) -> Result<BTreeSet<Firewall>, KernelError>;

    /// The connections that IPVS has.
    ///
    /// # Errors
    /// They cannot be listed.
    fn connections(&mut self) -> Result<Vec<Connection>, KernelError>;

    /// Executes changes in order, and says for each whether the kernel took it. One refusal stops nothing: what must
    /// not happen after it is the caller's to leave out. IPVS changes that follow each other go in one send.
    fn apply(&mut self, changes: &[Change]) -> Vec<Result<(), KernelError>>;
}

/// Why the kernel did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// There is no IPVS in this kernel, and it could not be loaded.
    #[error("the kernel has no IPVS: load the module ip_vs on this node")]
    ModuleMissing,
    /// The kernel has no such tunnel device, or no such generic netlink family, and could not load the module.
    #[error("the kernel has no {module}: load the module {module} on this node, at boot by /etc/modules-load.d")]
    NoModule {
        /// The module's name.
        module: &'static str,
    },
    /// NEW_SERVICE or SET_SERVICE answered ENOENT.
    #[error("the kernel has no scheduler {scheduler}: load the module ip_vs_{scheduler} on this node")]
    SchedulerMissing {
        /// The scheduler's name.
        scheduler: String,
    },
    /// The kernel's own refusal.
    #[error("{errno}")]
    Refused {
        /// What it answered.
        errno: ::ipvs::Errno,
    },
    /// No answer came that says whether it was done: read back.
    #[error("the kernel's answer was lost")]
    Unknown,
    /// The interface is not there (now).
    #[error("there is no interface {interface}")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The knob is not there: its module is not loaded.
    #[error("the kernel has no {sysctl}: load the module that it belongs to on this node")]
    NoSysctl {
        /// Which.
        sysctl: Sysctl,
    },
    /// A file below /proc/sys could not be read or written.
    #[error("{path}: {reason}; lvs-agent needs this host's /proc/sys/net, writable, where --proc-sys-net says")]
    File {
        /// The file.
        path: String,
        /// The system's word for it.
        reason: String,
    },
    /// A program that we need is not there.
    #[error("there is no program {program} in the PATH of lvs-agent: put it into its image (package nftables)")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
    },
    /// The kernel lacks a part of nftables.
    #[error("the kernel refuses what the ruleset is made of ({message}): load {modules} on this node")]
    RulesetUnsupported {
        /// The word of nft or of the kernel.
        message: String,
        /// What to load.
        modules: String,
    },
    /// nftables refused a transaction: nothing of it was done.
    #[error("nftables: {message}")]
    Ruleset {
        /// The word of nft.
        message: String,
    },
    /// A socket failed, or a message did not decode.
    #[error("{0}")]
    Io(String),
    /// Not tried, because something that it depends on failed.
    #[error("not done: {0}")]
    Skipped(&'static str),
}

/// What to say of a module that is not there.
fn missing(module: &'static str) -> KernelError {
    KernelError::NoModule { module }
}
