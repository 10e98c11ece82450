//! Hosts before they exist, and the two usual networks.

/// The LAN of every topology: 192.168.56.0/24, and fd00:56::/64 beside it.
pub const LAN: u8 = 56;
/// The client's own LAN in the routed topology.
pub const FAR_LAN: u8 = 57;

/// A host before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// Its name: that of the network namespace, of the Node, of what nginx answers.
    pub name: String,
    /// Third and fourth byte of its address on each LAN, for eth0, eth1, …
    pub links: Vec<(u8, u8)>,
    /// Its default router.
    pub gateway: Option<String>,
    /// Whether it forwards packets.
    pub forwards: bool,
    /// Whether it can reach the control plane, by a link of its own.
    pub management: bool,
}

impl HostPlan {
    /// A node of the cluster on the LAN.
    #[must_use]
    pub fn node(name: &str, last_byte: u8) -> Self {
        Self {
            name: name.to_owned(),
            links: vec![(LAN, last_byte)],
            gateway: None,
            forwards: false,
            management: true,
        }
    }

    /// A host outside of the cluster, on one LAN.
    #[must_use]
    pub fn outsider(name: &str, lan: u8, last_byte: u8) -> Self {
        Self {
            links: vec![(lan, last_byte)],
            management: false,
            ..Self::node(name, last_byte)
        }
    }

    /// With a default router.
    #[must_use]
    pub fn via(mut self, gateway: &str) -> Self {
        self.gateway = Some(gateway.to_owned());
        self
    }
}

/// One LAN: the client (.200) and nodes with the given last bytes.
#[must_use]
pub fn one_lan(nodes: &[(&str, u8)]) -> Vec<HostPlan> {
    let mut plans = vec![HostPlan::outsider("client", LAN, 200)];
    plans.extend(nodes.iter().map(|(name, last)| HostPlan::node(name, *last)));
    plans
}

/// The client (192.168.57.200) behind a router (.1 on both LANs), nodes on the other side.
#[must_use]
pub fn routed(nodes: &[(&str, u8)]) -> Vec<HostPlan> {
    let router = HostPlan {
        links: vec![(LAN, 1), (FAR_LAN, 1)],
        forwards: true,
        ..HostPlan::outsider("router", LAN, 1)
    };
    let client = HostPlan::outsider("client", FAR_LAN, 200).via("192.168.57.1");
    let mut plans = vec![router, client];
    plans.extend(
        nodes
            .iter()
            .map(|(name, last)| HostPlan::node(name, *last).via("192.168.56.1")),
    );
    plans
}
