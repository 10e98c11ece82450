//! From desired and observed to the changes between them, in the one order that is safe. Total: it never fails and never
//! waits.
//!
//! | stage | why here |
//! |---|---|
//! | director address down | first the clients stop coming |
//! | ruleset up | what IPVS relies on, and what guards it, before it begins; nothing of before is taken away yet |
//! | host sysctls | a real server is silent, and read back to be, before it has the VIP |
//! | tunnel up, tunnel sysctls | what unwraps is there, and lets pass, before it has the VIP |
//! | host address up | |
//! | director sysctls | what a forwarding method needs is there before a packet is forwarded |
//! | IPVS | services, destinations and edits, then deletions: replacing the only real server leaves no gap |
//! | director address up | what clients reach when they come is programmed |
//! | announce | and only then are they told |
//! | host address down | no director sends here any more: the operator saw to that |
//! | tunnel down | in reverse: with no VIP on it |
//! | ruleset down | what nobody goes by any more |
//! | sysctl restore | silent until the VIP is gone |

mod addresses;
mod ruleset;
mod services;
mod settings;
mod tunnels;

pub use ruleset::has_retired;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipvs::{ServiceKey, Timeouts};

use crate::desired::ServiceChange;
use crate::ledger::{Entry, Former, Ledger};
use crate::observed::Observed;
use crate::ruleset::Transaction;
use crate::serving::Place;
use crate::state::{ADDRESS_PROTOCOL, AddressConfig, AddressKey, AddressScope, KernelState, Sysctl};
use crate::tunnel::{self, GuePort};

/// One change of the kernel's state. Prints as the line that an administrator would type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `sysctl -w`: set a knob to what must be.
    SetSysctl {
        /// Which.
        sysctl: Sysctl,
        /// To what.
        value: i64,
    },
    /// `sysctl -w`: give back the former value.
    RestoreSysctl {
        /// Which.
        sysctl: Sysctl,
        /// The value it had before us.
        value: i64,
    },
    /// `ip address add`.
    AddAddress {
        /// Where and which.
        key: AddressKey,
        /// How.
        config: AddressConfig,
    },
    /// `ip address del`.
    DeleteAddress {
        /// Where and which.
        key: AddressKey,
        /// As it was read: the kernel finds IPv4 addresses by prefix length too.
        config: AddressConfig,
    },
    /// `ipvsadm --set`; 0 leaves a timeout as it is.
    SetTimeouts {
        /// In seconds.
        timeouts: Timeouts,
    },
    /// A line of ipvsadm.
    Ipvs(ipvs::Change),
    /// Lines of `ip link` or `ip fou`.
    Tunnel(tunnel::Change),
    /// `nft -f`: what is to be in our table, with all that was in it for us.
    GrowRuleset(Transaction),
    /// `nft -f`: what was in our table and is no longer asked for goes.
    ShrinkRuleset(Transaction),
    /// `arping -U`: gratuitous ARP (unsolicited neighbour advertisement for IPv6), so that the link learns who answers now.
    Announce {
        /// Where and which.
        key: AddressKey,
    },
}

/// When a change may happen. The order of the variants is the order of a pass; see the module's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the module's table says them")]
pub enum Stage {
    DirectorAddressDown,
    RulesetUp,
    HostSysctls,
    TunnelUp,
    TunnelSysctls,
    HostAddressUp,
    DirectorSysctls,
    Ipvs,
    DirectorAddressUp,
    Announce,
    HostAddressDown,
    TunnelDown,
    RulesetDown,
    SysctlRestore,
}

/// What to change, and what to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in order.
    pub steps: Vec<(Stage, Change)>,
    /// What the ledger must say before the first change: intents, and entries that we take over because they are as they
    /// should be.
    pub ledger: Vec<Entry>,
    /// Services that stand where ours belong, and are not ours: not overwritten.
    pub foreign: BTreeSet<ServiceKey>,
    /// Interfaces with a name of ours that are somebody else's: not overwritten.
    pub foreign_tunnels: BTreeSet<String>,
    /// UDP ports on which somebody else unwraps something else: not overwritten.
    pub foreign_ports: BTreeSet<GuePort>,
}

/// Whether something may be deleted because the Placements do not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The Placements are a complete list.
    IsBelieved,
    /// They may be incomplete: unknown is not empty.
    IsIgnorance {
        /// Destinations that they name, and that do not serve by our own decision: to delete these is no belief in an
        /// absence. A failed check works without the API server, and so does a drain's deadline.
        dismissed: BTreeSet<Place>,
    },
}

/// The changes that turn what was observed into what is desired, of what is ours.
///
/// # Guarantees
/// `plan(x, x)` has no steps; the same input gives the same output; nothing foreign is touched.
pub fn plan(desired: &KernelState, observed: &Observed, ledger: &Ledger, absence: &Absence) -> Plan {
    let mut plan = Plan::default();
    services::all(&mut plan, desired, observed, ledger);
    let made = tunnels::add(&mut plan, desired, observed, ledger);
    addresses::plan(&mut plan, desired, observed, &made);
    settings::sysctls(&mut plan, desired, observed, ledger);
    settings::timeouts(&mut plan, desired, observed, ledger);
    ruleset::ruleset(&mut plan, desired, observed);
    match absence {
        Absence::IsBelieved => {}
        Absence::IsIgnorance { dismissed } => plan
            .steps
            .retain(|(_, change)| !change.takes_away() || is_dismissal(dismissed, change)),
    }
    plan.steps.sort_by_key(|(stage, _)| *stage);
    plan
}

fn is_dismissal(dismissed: &BTreeSet<Place>, change: &Change) -> bool {
    let Change::Ipvs(ipvs::Change::DeleteDestination { service, destination }) = change else {
        return false;
    };
    dismissed.contains(&(*service, *destination))
}

/// As [`plan`], of these services alone: what is desired of everything else is as it was, and was read to be so.
pub fn plan_services(wanted: &ServiceChange, observed: &Observed, ledger: &Ledger) -> Plan {
    let mut plan = Plan::default();
    let each = wanted.iter().map(|(key, service)| (*key, service.as_ref()));
    services::some(&mut plan, each, observed, ledger);
    plan
}

/// As [`settled`], of these services alone.
pub fn settled_services(wanted: &ServiceChange, observed: &Observed, ledger: &Ledger) -> Vec<Entry> {
    let each = wanted.iter();
    each.filter_map(|(key, service)| services::settled(*key, service.as_ref(), observed, ledger))
        .collect()
}

/// Ledger entries that are over: what they name was read to be gone, or somebody else's. Not while absence is ignorance.
pub fn settled(desired: &KernelState, observed: &Observed, ledger: &Ledger, absence: &Absence) -> Vec<Entry> {
    match absence {
        Absence::IsIgnorance { dismissed: _ } => return Vec::new(),
        Absence::IsBelieved => {}
    }
    let mut over = Vec::new();
    let services = ledger.services.iter();
    over.extend(services.filter_map(|key| services::settled(*key, desired.ipvs.services.get(key), observed, ledger)));
    if let Some(record) = ledger.timeouts
        && let Some(Ok(present)) = observed.timeouts
        && desired.timeouts == Timeouts::default()
        && record.former.where_equal(record.set, present).hold_in(present)
    {
        over.push(Entry::NoTimeouts);
    }
    // What could not be read is not over.
    let sysctls = ledger.sysctls.iter().filter(|_| observed.blind.is_none());
    for (sysctl, Former { former, set }) in sysctls {
        let ours = observed.sysctl(sysctl) == Some(*set) && former != set;
        if !desired.sysctls.contains_key(sysctl) && !ours {
            over.push(Entry::NoSysctl { sysctl: sysctl.clone() });
        }
    }
    over.extend(tunnels::settled(desired, observed, ledger));
    over
}

/// The VIP of an address service.
pub fn vip_of(key: &ServiceKey) -> Option<IpAddr> {
    match key {
        ServiceKey::Address {
            protocol: _,
            address,
            port: _,
        } => Some(*address),
        ServiceKey::FirewallMark { family: _, mark: _ } => None,
    }
}

impl Plan {
    /// Whether there is nothing to change, and nobody in the way of anything.
    pub fn is_empty(&self) -> bool {
        let Self {
            steps,
            ledger: _,
            foreign,
            foreign_tunnels,
            foreign_ports,
        } = self;
        steps.is_empty() && foreign.is_empty() && foreign_tunnels.is_empty() && foreign_ports.is_empty()
    }

    /// The services that it deletes.
    pub fn deleted_services(&self) -> impl Iterator<Item = ServiceKey> {
        self.steps.iter().filter_map(|(_, change)| match change.ipvs()? {
            ipvs::Change::DeleteService { service } => Some(*service),
            ipvs::Change::AddService { .. }
            | ipvs::Change::EditService { .. }
            | ipvs::Change::AddDestination { .. }
            | ipvs::Change::EditDestination { .. }
            | ipvs::Change::DeleteDestination { .. } => None,
        })
    }
}

impl Change {
    /// What it changes in the table of IPVS, if that.
    pub fn ipvs(&self) -> Option<&ipvs::Change> {
        match self {
            Self::Ipvs(change) => Some(change),
            Self::SetSysctl { .. }
            | Self::RestoreSysctl { .. }
            | Self::AddAddress { .. }
            | Self::DeleteAddress { .. }
            | Self::SetTimeouts { .. }
            | Self::Tunnel(_)
            | Self::GrowRuleset(_)
            | Self::ShrinkRuleset(_)
            | Self::Announce { .. } => None,
        }
    }

    /// Whether something is gone after it that was there before.
    pub fn takes_away(&self) -> bool {
        match self {
            Self::DeleteAddress { key: _, config: _ } | Self::RestoreSysctl { sysctl: _, value: _ } => true,
            Self::Ipvs(change) => match change {
                ipvs::Change::DeleteService { .. } | ipvs::Change::DeleteDestination { .. } => true,
                ipvs::Change::AddService { .. }
                | ipvs::Change::EditService { .. }
                | ipvs::Change::AddDestination { .. }
                | ipvs::Change::EditDestination { .. } => false,
            },
            Self::Tunnel(change) => change.takes_away(),
            Self::ShrinkRuleset(_) => true,
            Self::SetSysctl { .. }
            | Self::AddAddress { .. }
            | Self::SetTimeouts { .. }
            | Self::GrowRuleset(_)
            | Self::Announce { .. } => false,
        }
    }
}

impl Change {
    /// In one line of a length that a log and a condition can take: a whole table is told by its size.
    pub fn brief(&self) -> String {
        match self {
            Self::GrowRuleset(transaction) | Self::ShrinkRuleset(transaction) => transaction.brief(),
            Self::SetSysctl { .. }
            | Self::RestoreSysctl { .. }
            | Self::AddAddress { .. }
            | Self::DeleteAddress { .. }
            | Self::Ipvs(_)
            | Self::SetTimeouts { .. }
            | Self::Tunnel(_)
            | Self::Announce { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl { sysctl, value } | Self::RestoreSysctl { sysctl, value } => {
                write!(f, "sysctl -w {sysctl}={value}")
            }
            Self::AddAddress { key, config } => {
                write!(
                    f,
                    "ip address add {}/{} dev {}",
                    key.address, config.prefix_length, key.interface
                )?;
                match config.scope {
                    AddressScope::Global => {}
                    AddressScope::Host => write!(f, " scope host")?,
                    AddressScope::Other(scope) => write!(f, " scope {scope}")?,
                }
                if let Some(seconds) = config.lifetime {
                    write!(f, " valid_lft {seconds}")?;
                }
                if key.address.is_ipv6() {
                    write!(f, " nodad preferred_lft 0")?;
                }
                write!(f, " proto {ADDRESS_PROTOCOL}")
            }
            Self::DeleteAddress { key, config } => {
                write!(
                    f,
                    "ip address del {}/{} dev {}",
                    key.address, config.prefix_length, key.interface
                )
            }
            Self::SetTimeouts { timeouts } => write!(f, "ipvsadm --set {timeouts}"),
            Self::Ipvs(change) => write!(f, "{change}"),
            Self::Tunnel(change) => write!(f, "{change}"),
            Self::Announce { key } if key.address.is_ipv6() => write!(f, "ndsend {} {}", key.address, key.interface),
            Self::GrowRuleset(transaction) | Self::ShrinkRuleset(transaction) => write!(f, "{transaction}"),
            Self::Announce { key } => write!(f, "arping -U -c 1 -I {} {}", key.interface, key.address),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|(_, change)| writeln!(f, "{change}"))
    }
}
