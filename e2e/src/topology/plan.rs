//! Hosts before they exist, and the usual networks.

/// The LAN of every topology: 192.168.56.0/24, and fd56::/64 beside it.
pub const LAN: u8 = 56;
/// The client's own LAN in the routed topology.
pub const FAR_LAN: u8 = 57;
/// Behind a director with two interfaces: 10.0.0.0/24 and fd10::/64.
pub const INSIDE_LAN: u8 = 10;
/// Behind a router, away from the director: 10.0.1.0/24 and fd11::/64.
pub const REMOTE_LAN: u8 = 11;

/// The IPv4 address with this last byte on a LAN.
#[must_use]
pub fn ipv4(lan: u8, last: u8) -> String {
    match lan {
        INSIDE_LAN => format!("10.0.0.{last}"),
        REMOTE_LAN => format!("10.0.1.{last}"),
        _ => format!("192.168.{lan}.{last}"),
    }
}

/// The IPv6 address with the same last number: fd56::30 beside 192.168.56.30.
#[must_use]
pub fn ipv6(lan: u8, last: u8) -> String {
    format!("fd{lan}::{last}")
}

/// A host before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name: that of the network namespace, of the Node, of what nginx answers.
    pub name: String,
    /// LAN and last byte of its address there, for eth0, eth1, …
    pub links: Vec<(u8, u8)>,
    /// Its default router, for both families: LAN and last byte.
    pub gateway: Option<(u8, u8)>,
    /// Whether it forwards packets.
    pub forwards: bool,
    /// Whether it can reach the control plane, by a link of its own.
    pub management: bool,
    /// Whether its kernel's tunnel modules were loaded when it was made, so that it has `tunl0`, `gre0` and the others of
    /// somebody else. They are most of what a snapshot reads.
    pub fallback_devices: bool,
}

impl HostPlan {
    /// A node of the cluster on the LAN.
    #[must_use]
    pub fn node(name: &str, last_byte: u8) -> Self {
        Self::node_on(name, &[(LAN, last_byte)])
    }

    /// A node of the cluster with these links.
    #[must_use]
    pub fn node_on(name: &str, links: &[(u8, u8)]) -> Self {
        Self {
            name: name.to_owned(),
            links: links.to_vec(),
            gateway: None,
            forwards: false,
            management: true,
            fallback_devices: false,
        }
    }

    /// A host outside of the cluster, on one LAN.
    #[must_use]
    pub fn outsider(name: &str, lan: u8, last_byte: u8) -> Self {
        Self {
            management: false,
            ..Self::node_on(name, &[(lan, last_byte)])
        }
    }

    /// A router between LANs, the first address of each.
    #[must_use]
    pub fn router(lans: &[u8]) -> Self {
        Self {
            links: lans.iter().map(|lan| (*lan, 1)).collect(),
            forwards: true,
            ..Self::outsider("router", LAN, 1)
        }
    }

    /// With a default router.
    #[must_use]
    pub fn via(mut self, lan: u8, last_byte: u8) -> Self {
        self.gateway = Some((lan, last_byte));
        self
    }
}

fn client() -> HostPlan {
    HostPlan::outsider("client", LAN, 200)
}

/// One LAN: the client (.200) and nodes with the given last bytes.
#[must_use]
pub fn one_lan(nodes: &[(&str, u8)]) -> Vec<HostPlan> {
    let mut plans = vec![client()];
    plans.extend(nodes.iter().map(|(name, last)| HostPlan::node(name, *last)));
    plans
}

/// The client (192.168.57.200) behind a router (.1 on both LANs), nodes on the other side.
#[must_use]
pub fn routed(nodes: &[(&str, u8)]) -> Vec<HostPlan> {
    let client = HostPlan::outsider("client", FAR_LAN, 200).via(FAR_LAN, 1);
    let mut plans = vec![HostPlan::router(&[LAN, FAR_LAN]), client];
    plans.extend(nodes.iter().map(|(name, last)| HostPlan::node(name, *last).via(LAN, 1)));
    plans
}

/// The client on the LAN, the director (.10 there, 10.0.0.1 inside) between it and the real servers, whose gateway it is.
#[must_use]
pub fn director_between(director: &str, real_servers: &[(&str, u8)]) -> Vec<HostPlan> {
    let director = HostPlan::node_on(director, &[(LAN, 10), (INSIDE_LAN, 1)]);
    let mut plans = vec![client(), director];
    let inside = |(name, last): &(&str, u8)| HostPlan::node_on(name, &[(INSIDE_LAN, *last)]).via(INSIDE_LAN, 1);
    plans.extend(real_servers.iter().map(inside));
    plans
}

/// Client and director (.10) on the LAN, real servers in another subnet behind a router, which is everybody's gateway.
#[must_use]
pub fn remote(director: &str, real_servers: &[(&str, u8)]) -> Vec<HostPlan> {
    let with_devices = |node: HostPlan| HostPlan {
        fallback_devices: true,
        ..node
    };
    let director = with_devices(HostPlan::node(director, 10).via(LAN, 1));
    let mut plans = vec![HostPlan::router(&[LAN, REMOTE_LAN]), client().via(LAN, 1), director];
    let away =
        |(name, last): &(&str, u8)| with_devices(HostPlan::node_on(name, &[(REMOTE_LAN, *last)]).via(REMOTE_LAN, 1));
    plans.extend(real_servers.iter().map(away));
    plans
}
