//! The knobs below `/proc/sys/net` that we set: which, where, what they must be, and what the kernel makes of two of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tunnel::is_name_of_ours;

/// A knob at its place. Ordered by knob first: see [`Knob`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sysctl {
    /// Which knob.
    pub knob: Knob,
    /// Interface name, or `all`; `None` for a knob that the whole network namespace has once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// The knobs that we set (Documentation/networking/ip-sysctl.rst, ipvs-sysctl.rst).
///
/// Their order is the order in which they are set, and in reverse given back: `accept_ra` comes before IPv6 forwarding,
/// which takes a learned default route away from an interface whose `accept_ra` is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Knob {
    /// 1: answer ARP only for addresses of the interface that the request came in by.
    ArpIgnore,
    /// 2: never announce the VIP as the sender of an ARP request.
    ArpAnnounce,
    /// 2: take packets whose source is reachable by any interface. On tunnel devices of ours; and on a director where answers
    /// to probes come in by another interface than that of the VIP, which they come from.
    RpFilter,
    /// 0: tell nobody on the link of a shorter way, which would be around the director. `all` or the interface.
    SendRedirects,
    /// 1: take packets whose source is an address of this node. `all` or the interface.
    AcceptLocal,
    /// 1: forward what comes in by this interface.
    Forwarding,
    /// 2: go on learning routes from router advertisements although forwarding is on.
    AcceptRa,
    /// 1: forward IPv6; the kernel knows it for all interfaces only.
    Ipv6Forwarding,
    /// 1: connections through IPVS are known to conntrack, which FullNAT's second half is made of.
    Conntrack,
    /// 1: a persistent client leaves a real server whose weight is 0.
    ExpireQuiescentTemplate,
}

/// The knobs that keep a host silent about the VIPs that it has on `lo`.
pub const SILENCE: [Knob; 2] = [Knob::ArpIgnore, Knob::ArpAnnounce];

/// What a knob must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// The value that the kernel goes by, the greater of `all` and the interface, is this or more: an administrator's
    /// stronger value stays.
    AtLeast(i64),
    /// The knob itself has this value.
    Exactly(i64),
    /// The value that the kernel goes by, the greater of `all` and the interface, is any other than the first; in its place the
    /// interface's becomes the second, which is greater.
    OtherThan {
        /// What it must not be.
        of: i64,
        /// What the interface's becomes then.
        value: i64,
    },
    /// The knob itself has any other value than the first; in its place the second is set.
    Instead {
        /// What it must not be.
        of: i64,
        /// What it becomes then.
        value: i64,
    },
}

impl Requirement {
    /// What is written where the requirement does not hold.
    pub fn value(self) -> i64 {
        match self {
            Self::AtLeast(value)
            | Self::Exactly(value)
            | Self::OtherThan { of: _, value }
            | Self::Instead { of: _, value } => value,
        }
    }

    /// Whether the knob's own value, and the one of `all`, are as they must be.
    pub fn holds(self, own: i64, all: Option<i64>) -> bool {
        match self {
            Self::AtLeast(least) => own.max(all.unwrap_or(own)) >= least,
            Self::Exactly(value) => own == value,
            Self::OtherThan { of, value: _ } => own.max(all.unwrap_or(own)) != of,
            Self::Instead { of, value: _ } => own != of,
        }
    }
}

impl Knob {
    /// The file's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ArpIgnore => "arp_ignore",
            Self::ArpAnnounce => "arp_announce",
            Self::RpFilter => "rp_filter",
            Self::SendRedirects => "send_redirects",
            Self::AcceptLocal => "accept_local",
            Self::Forwarding | Self::Ipv6Forwarding => "forwarding",
            Self::AcceptRa => "accept_ra",
            Self::Conntrack => "conntrack",
            Self::ExpireQuiescentTemplate => "expire_quiescent_template",
        }
    }

    /// The least effective value that keeps a real server silent about its VIPs; `None` for knobs that have no part in it.
    pub fn silent(self) -> Option<i64> {
        match self {
            Self::ArpIgnore => Some(1),
            Self::ArpAnnounce => Some(2),
            Self::RpFilter
            | Self::SendRedirects
            | Self::AcceptLocal
            | Self::Forwarding
            | Self::AcceptRa
            | Self::Ipv6Forwarding
            | Self::Conntrack
            | Self::ExpireQuiescentTemplate => None,
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::ArpIgnore
            | Self::ArpAnnounce
            | Self::RpFilter
            | Self::SendRedirects
            | Self::AcceptLocal
            | Self::Forwarding => "ipv4/conf",
            Self::AcceptRa => "ipv6/conf",
            Self::Ipv6Forwarding => "ipv6/conf/all",
            Self::Conntrack | Self::ExpireQuiescentTemplate => "ipv4/vs",
        }
    }
}

impl Sysctl {
    /// The knob of an interface.
    pub fn on(interface: impl Into<String>, knob: Knob) -> Self {
        Self {
            knob,
            interface: Some(interface.into()),
        }
    }

    /// The knob of `all` interfaces.
    pub fn of_all(knob: Knob) -> Self {
        Self::on("all", knob)
    }

    /// A knob that there is once.
    pub fn of_node(knob: Knob) -> Self {
        Self { knob, interface: None }
    }

    /// Whether hosts of real servers need it; all others are directors'.
    pub fn is_of_host(&self) -> bool {
        match self.knob {
            Knob::ArpIgnore | Knob::ArpAnnounce => true,
            Knob::RpFilter => self.interface.as_deref().is_some_and(is_name_of_ours),
            Knob::SendRedirects
            | Knob::AcceptLocal
            | Knob::Forwarding
            | Knob::AcceptRa
            | Knob::Ipv6Forwarding
            | Knob::Conntrack
            | Knob::ExpireQuiescentTemplate => false,
        }
    }

    /// Path below `/proc/sys/net`.
    pub fn path(&self) -> String {
        let Self { knob, interface } = self;
        match interface {
            Some(interface) => format!("{}/{interface}/{}", knob.folder(), knob.as_str()),
            None => format!("{}/{}", knob.folder(), knob.as_str()),
        }
    }
}

impl fmt::Display for Sysctl {
    /// As sysctl(8) writes it: a dot in an interface name becomes a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { knob, interface } = self;
        write!(f, "net.{}", knob.folder().replace('/', "."))?;
        if let Some(interface) = interface {
            write!(f, ".{}", interface.replace('.', "/"))?;
        }
        write!(f, ".{}", knob.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_is_where_the_kernel_has_it() {
        let cases = [
            (
                Sysctl::on("eth0.5", Knob::ArpIgnore),
                "ipv4/conf/eth0.5/arp_ignore",
                "net.ipv4.conf.eth0/5.arp_ignore",
            ),
            (
                Sysctl::of_all(Knob::SendRedirects),
                "ipv4/conf/all/send_redirects",
                "net.ipv4.conf.all.send_redirects",
            ),
            (
                Sysctl::on("eth0", Knob::AcceptLocal),
                "ipv4/conf/eth0/accept_local",
                "net.ipv4.conf.eth0.accept_local",
            ),
            (
                Sysctl::on("eth1", Knob::AcceptRa),
                "ipv6/conf/eth1/accept_ra",
                "net.ipv6.conf.eth1.accept_ra",
            ),
            (
                Sysctl::of_node(Knob::Ipv6Forwarding),
                "ipv6/conf/all/forwarding",
                "net.ipv6.conf.all.forwarding",
            ),
            (
                Sysctl::of_node(Knob::Conntrack),
                "ipv4/vs/conntrack",
                "net.ipv4.vs.conntrack",
            ),
        ];
        for (sysctl, path, text) in cases {
            assert_eq!((sysctl.path().as_str(), sysctl.to_string().as_str()), (path, text));
        }
    }

    #[test]
    fn a_requirement_is_judged_by_what_the_kernel_goes_by() {
        assert!(Requirement::AtLeast(1).holds(0, Some(2)), "all is stronger");
        assert!(!Requirement::AtLeast(2).holds(1, Some(0)));
        assert!(
            !Requirement::Exactly(0).holds(1, Some(0)),
            "either of the two is enough to redirect"
        );
        let not_strict = Requirement::OtherThan { of: 1, value: 2 };
        assert!(not_strict.holds(0, Some(0)) && not_strict.holds(0, Some(2)) && not_strict.holds(2, Some(1)));
        assert!(!not_strict.holds(1, Some(0)) && !not_strict.holds(0, Some(1)) && !not_strict.holds(1, None));
        let learns = Requirement::Instead { of: 1, value: 2 };
        assert!(learns.holds(0, None) && learns.holds(2, None) && !learns.holds(1, None));
    }
}
