//! From desired and observed to the changes between them, in the one order that is safe. Total: it never fails and never waits.

use std::fmt;

use crate::state::{ADDRESS_PROTOCOL, AddressConfig, AddressKey, AddressScope, Sysctl};

/// One change of the kernel's state. Prints as the line that an administrator would type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `sysctl -w`: raise a knob to the value that keeps a real server silent.
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
    /// A line of ipvsadm.
    Ipvs(ipvs::Change),
    /// `arping -U`: gratuitous ARP (unsolicited neighbour advertisement for IPv6), so that the link learns who answers now.
    Announce {
        /// Where and which.
        key: AddressKey,
    },
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
            Self::Ipvs(change) => write!(f, "{change}"),
            Self::Announce { key } => write!(f, "arping -U -c 1 -I {} {}", key.interface, key.address),
        }
    }
}
