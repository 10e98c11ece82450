//! Values that several kinds share, in the words of ipvsadm(8).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Transport protocol of a virtual service's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    #[default]
    #[allow(missing_docs)]
    Tcp,
    #[allow(missing_docs)]
    Udp,
    #[allow(missing_docs)]
    Sctp,
}

impl Protocol {
    /// As in `80/TCP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// How IPVS chooses the real server of a new connection: `ipvsadm -s`, the kernel's own names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Scheduler {
    Rr,
    Wrr,
    Lc,
    #[default]
    Wlc,
    Lblc,
    Lblcr,
    Dh,
    Sh,
    Sed,
    Nq,
    Fo,
    Ovf,
    Mh,
    Twos,
}

impl Scheduler {
    /// The kernel's name, as in `ipvsadm -s`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Lc => "lc",
            Self::Wlc => "wlc",
            Self::Lblc => "lblc",
            Self::Lblcr => "lblcr",
            Self::Dh => "dh",
            Self::Sh => "sh",
            Self::Sed => "sed",
            Self::Nq => "nq",
            Self::Fo => "fo",
            Self::Ovf => "ovf",
            Self::Mh => "mh",
            Self::Twos => "twos",
        }
    }
}

/// How packets travel from the director to the real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ForwardingMethod {
    /// Direct routing (`ipvsadm -g`): same link, the real server accepts the VIP itself and answers the client directly.
    #[default]
    DR,
    /// Network address translation (`ipvsadm -m`): the destination is rewritten, and replies come back through the director.
    NAT,
    /// Tunnelling (`ipvsadm -i`): as DR, over any network in between; the real server decapsulates.
    TUN,
    /// NAT of source and destination: the real server needs no special gateway, and sees the director's address.
    FullNAT,
}

impl ForwardingMethod {
    /// Whether the real server's host accepts the VIP itself, and has to be prepared for it.
    pub fn is_host_prepared(self) -> bool {
        match self {
            Self::DR | Self::TUN => true,
            Self::NAT | Self::FullNAT => false,
        }
    }

    /// Whether the real server's port may differ from the VIP's.
    pub fn translates_ports(self) -> bool {
        !self.is_host_prepared()
    }
}

/// A flag of a scheduler: `ipvsadm -b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerFlag {
    /// Choose another real server instead of refusing the client when its own is full, quiesced or draining.
    ShFallback,
    /// Hash the client's port as well as its address.
    ShPort,
    /// As `sh-fallback`, of mh.
    MhFallback,
    /// As `sh-port`, of mh.
    MhPort,
}

/// How TUN packets are wrapped: `ipvsadm --tun-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.port)) == (self.type == 'GUE')").message("port goes with, and only with, type GUE: set the UDP port on which real servers decapsulate, or remove it"),
    validation = Rule::new("!has(self.checksum) || self.checksum == 'None' || self.type != 'IPIP'").message("IPIP has no checksum: remove it, or use GUE or GRE").field_path(".checksum"),
    validation = Rule::new("!has(self.checksum) || self.checksum != 'RemoteChecksum' || self.type == 'GUE'").message("RemoteChecksum is of GUE only: use Checksum or None").field_path(".checksum"),
)]
pub struct Tunnel {
    /// The encapsulation.
    #[serde(rename = "type")]
    pub type_: TunnelType,
    /// UDP port of GUE on the real servers (`--tun-port`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Checksum of the outer packet; None when absent (`--tun-nocsum`). With GRE both ends must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<TunnelChecksum>,
}

/// Encapsulations that IPVS knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TunnelType {
    /// IP in IP: protocol 4, or 41 for IPv6.
    #[default]
    Ipip,
    /// Generic UDP encapsulation.
    Gue,
    /// Generic routing encapsulation: protocol 47.
    Gre,
}

/// Checksum of a tunnel's outer packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TunnelChecksum {
    /// `--tun-nocsum`.
    #[default]
    None,
    /// `--tun-csum`.
    Checksum,
    /// `--tun-remcsum`.
    RemoteChecksum,
}

/// A client meets the same real server again: `ipvsadm -p`.
// One value: where a map loses all its fields to one that is applied empty, the API server makes null of it, and refuses that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct Persistence {
    /// For how long after its last connection ended.
    #[serde(default = "default_persistence_seconds")]
    #[schemars(range(min = 1, max = 2678400))]
    pub timeout_seconds: i32,
    /// IPv4 clients of one network of this prefix length count as one (`ipvsadm -M`).
    #[serde(default = "default_ipv4_prefix_length", rename = "ipv4PrefixLength")]
    #[schemars(range(min = 1, max = 32))]
    pub ipv4_prefix_length: i32,
    /// IPv6 clients of one network of this prefix length count as one.
    #[serde(default = "default_ipv6_prefix_length", rename = "ipv6PrefixLength")]
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix_length: i32,
    /// What tells clients apart besides their address: the Call-ID of SIP (`ipvsadm --pe sip`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<PersistenceEngine>,
    /// One client meets one real server on all `ports`, by a firewall mark that lvs-operator sets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub across_ports: bool,
}

fn default_persistence_seconds() -> i32 {
    360
}
fn default_ipv4_prefix_length() -> i32 {
    32
}
fn default_ipv6_prefix_length() -> i32 {
    128
}

/// Persistence engines of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PersistenceEngine {
    /// The Call-ID of SIP over UDP (`ip_vs_pe_sip`).
    Sip,
}

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("isIP(self.address)").message("not an IPv4 or IPv6 address: write one such as 192.168.56.100").field_path(".address"),
    validation = Rule::new("!isIP(self.address) || ip.isCanonical(self.address)").message("write the address in canonical form (lower case, shortest form)").field_path(".address"),
    validation = Rule::new("!isIP(self.address) || ip(self.address).isGlobalUnicast()").message("loopback, link-local, multicast and unspecified addresses cannot be VIPs: use a unicast address").field_path(".address"),
)]
pub struct VirtualAddress {
    /// IPv4 or IPv6 address in canonical text.
    #[schemars(length(max = 45))]
    pub address: String,
}

/// A port that the virtual service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// A name for people and status; unique within the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// TCP when absent. (No schema default: defaults inside list items show as drift for ever in GitOps tools.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The port of the VIP; 0 = every port of the protocol that no other service of the VIP takes.
    #[schemars(range(min = 0, max = 65535))]
    pub port: i32,
    /// The port of the real servers; `port` when absent. Only NAT and FullNAT can translate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
}

/// What a director does for a VIP now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// It holds the VIPs.
    Active,
    /// It is programmed and holds no VIP.
    Backup,
    /// Nothing is known: its agent has not reported, or not lately.
    Unknown,
}

/// Whether a number says no more than its absence would: it is left out then.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(value: &i32) -> bool {
    *value == 0
}
