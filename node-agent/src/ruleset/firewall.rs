//! Other people's firewalls, as far as they decide over our packets before any rule of ours could.

use std::fmt;

/// A base chain of somebody else's table that drops what none of its rules accepts. An accept of ours cannot help: a
/// packet passes only when every chain of a hook lets it pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firewall {
    /// nft's word for the table's family: `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Where it is.
    pub hook: Hook,
    /// Lower comes first.
    pub priority: i32,
}

/// Hooks at which packets of a director or real server can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Packets to the VIP.
    Input,
    /// Replies of real servers by NAT and FullNAT.
    Forward,
    /// Packets that IPVS sends on, by every method.
    Output,
}

/// IPVS's hook for packets to a VIP: what comes later at input sees none that it took; what came last with the same
/// priority comes before it (measured).
const IPVS_INPUT: i32 = 99;

impl Firewall {
    /// Whether it stands between a client and a VIP.
    pub fn blocks_requests(&self) -> bool {
        match self.hook {
            Hook::Input => self.priority <= IPVS_INPUT,
            Hook::Output => true,
            Hook::Forward => false,
        }
    }

    /// Whether it stands between a real server by NAT or FullNAT and its client. Its `ct state established accept` helps
    /// only while IPVS tells connection tracking of its connections (`net.ipv4.vs.conntrack=1`).
    pub fn blocks_replies(&self) -> bool {
        self.hook == Hook::Forward
    }

    /// Whether it stands between a probe that goes the way of clients' packets, and its answer, which comes from the VIP:
    /// connection tracking knows nothing of what IPVS sends by DR and TUN, so `ct state established accept` does not help.
    pub fn blocks_answers(&self) -> bool {
        self.hook == Hook::Input
    }

    /// Whether it is about packets of the family.
    pub fn is_of(&self, family: ipvs::Family) -> bool {
        match family {
            ipvs::Family::Ipv4 => self.family != "ip6",
            ipvs::Family::Ipv6 => self.family != "ip",
        }
    }
}

impl Hook {
    /// nft's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

/// As in `nft list chain`.
impl fmt::Display for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            table,
            chain,
            hook,
            priority,
        } = self;
        let hook = hook.as_str();
        write!(
            f,
            "{family} {table} {chain} (hook {hook} priority {priority}, policy drop)"
        )
    }
}
