//! What the matrix is of: forwarding methods by family and protocol, and the network that each method is for.

use std::fmt;

use anyhow::Result;
use e2e::endpoint::{Endpoint, Transport};
use e2e::topology::{self, HostPlan, INSIDE_LAN, LAN, REMOTE_LAN};

/// The last bytes of the real servers' addresses.
pub(crate) const REAL_SERVERS: [(&str, u8); 2] = [("rs1", 30), ("rs2", 40)];

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    /// The address with this last byte on a LAN.
    pub(crate) fn address(self, lan: u8, last: u8) -> String {
        match self {
            Self::Ipv4 => topology::ipv4(lan, last),
            Self::Ipv6 => topology::ipv6(lan, last),
        }
    }
}

/// A network that some methods are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Everybody on one LAN.
    OneLan,
    /// The director between clients and real servers.
    DirectorBetween,
    /// Real servers in another subnet behind a router.
    Remote,
}

impl Network {
    pub(crate) fn plans(self) -> Vec<HostPlan> {
        let nodes = [("dir1", 10), REAL_SERVERS[0], REAL_SERVERS[1]];
        match self {
            Self::OneLan => topology::one_lan(&nodes),
            Self::DirectorBetween => topology::director_between("dir1", &REAL_SERVERS),
            Self::Remote => topology::remote("dir1", &REAL_SERVERS),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneLan => "everybody on one LAN",
            Self::DirectorBetween => "the director between clients and real servers",
            Self::Remote => "real servers in another subnet behind a router",
        }
    }

    /// The LAN of the real servers.
    pub(crate) fn lan(self) -> u8 {
        match self {
            Self::OneLan => LAN,
            Self::DirectorBetween => INSIDE_LAN,
            Self::Remote => REMOTE_LAN,
        }
    }

    pub(crate) fn rows(self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(move |row| row.network == self)
    }

    pub(crate) fn cells(self) -> Vec<Cell> {
        let families = |row| Family::ALL.map(|family| Transport::ALL.map(|transport| Cell { row, family, transport }));
        self.rows().flat_map(families).flatten().collect()
    }
}

/// A forwarding method, as manifests and as ipvsadm say it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The name of its VirtualService.
    pub(crate) service: &'static str,
    /// `spec.forwardingMethod`.
    pub(crate) method: &'static str,
    /// `spec.tunnel`, in YAML's short form.
    pub(crate) tunnel: Option<&'static str>,
    /// What `ipvsadm -a` takes.
    pub(crate) ipvsadm: &'static str,
    pub(crate) network: Network,
    /// The last byte of its VIPs.
    pub(crate) vip: u8,
    /// Added to the service's port by the director.
    pub(crate) mapped_by: u16,
}

pub(crate) const ROWS: &[Row] = &[
    row("DR", "dr", "DR", "-g", Network::OneLan, 100),
    row("NAT", "nat", "NAT", "-m", Network::DirectorBetween, 130),
    Row {
        mapped_by: 8000,
        ..row(
            "NAT, ports mapped",
            "nat-mapped",
            "NAT",
            "-m",
            Network::DirectorBetween,
            132,
        )
    },
    row("TUN, IPIP", "tun-ipip", "TUN", "-i", Network::Remote, 150),
    Row {
        tunnel: Some("{type: GUE, port: 6080}"),
        ..row(
            "TUN, GUE",
            "tun-gue",
            "TUN",
            "-i --tun-type gue --tun-port 6080 --tun-nocsum",
            Network::Remote,
            151,
        )
    },
    Row {
        tunnel: Some("{type: GRE}"),
        ..row(
            "TUN, GRE",
            "tun-gre",
            "TUN",
            "-i --tun-type gre --tun-nocsum",
            Network::Remote,
            152,
        )
    },
    row("FullNAT", "fullnat", "FullNAT", "-m", Network::Remote, 160),
];

const fn row(
    name: &'static str,
    service: &'static str,
    method: &'static str,
    ipvsadm: &'static str,
    network: Network,
    vip: u8,
) -> Row {
    Row {
        name,
        service,
        method,
        tunnel: None,
        ipvsadm,
        network,
        vip,
        mapped_by: 0,
    }
}

impl Row {
    pub(crate) fn vip(&self, family: Family) -> String {
        family.address(LAN, self.vip)
    }

    /// Whether real servers get the client's packets as they are, and answer past the director.
    pub(crate) fn bypasses(&self) -> bool {
        matches!(self.method, "DR" | "TUN")
    }

    /// Who hands the answers to the client, link by link.
    pub(crate) fn last_hops(&self) -> &'static [&'static str] {
        match self.method {
            "DR" => &["rs1", "rs2"],
            "TUN" => &["router"],
            _ => &["dir1"],
        }
    }
}

/// The port of each protocol's service.
pub(crate) fn port(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => 80,
        Transport::Udp => 5353,
        Transport::Sctp => 3868,
    }
}

/// A service of one protocol on one VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) row: &'static Row,
    pub(crate) family: Family,
    pub(crate) transport: Transport,
}

impl Cell {
    /// Where clients ask.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        Endpoint::new(self.transport, &self.row.vip(self.family), port(self.transport))
    }

    /// Where the real server with this last byte listens: on the VIP itself when it gets packets as they are.
    pub(crate) fn served_at(&self, last: u8) -> Result<Endpoint> {
        if self.row.bypasses() {
            return self.endpoint();
        }
        let address = self.family.address(self.row.network.lan(), last);
        Endpoint::new(self.transport, &address, port(self.transport) + self.row.mapped_by)
    }

    /// The destination of the real server with this last byte, as ipvsadm names it.
    pub(crate) fn destination(&self, last: u8) -> Result<Endpoint> {
        let address = self.family.address(self.row.network.lan(), last);
        Endpoint::new(self.transport, &address, port(self.transport) + self.row.mapped_by)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} | {} | {}",
            self.row.name,
            self.family.name(),
            self.transport.name()
        )
    }
}
