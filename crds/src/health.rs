//! Health checks, in the words of keepalived.conf(5): what is probed, how often, and what follows.
//!
//! What strings may hold is a pattern and no rule: a director's Placement has these lists once more for each real server, and
//! CEL's estimate would not bear it. What no pattern can say is in `content`, for the operator's `validate`. Nothing here has a schema default: these are list items, and a default in them shows as drift for ever in GitOps tools.

mod content;
mod probes;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

pub use content::{body_pattern, ca_bundle, host_alone, payload, server_name};
pub use probes::{
    DnsProbe, DnsRecordType, GrpcProbe, HttpHeader, HttpMethod, HttpProbe, HttpsProbe, NoProbe, PingProbe, SmtpProbe,
    TcpProbe, UdpProbe,
};

/// Firewall marks by which agents steer probes of [`Through::ForwardingPath`]. They are ours alone on every director: the
/// schema refuses them as a VirtualService's mark, and the operator as a range for `acrossPorts`.
pub const PROBE_MARKS: RangeInclusive<u32> = 0x1000_0000..=0x17ff_ffff;

/// One health check of a list; all must pass. Without a probe it is `tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.tcp), has(self.http), has(self.https), has(self.udp), has(self.dns), has(self.smtp), has(self.grpc), has(self.ping), has(self.none)].filter(x, x).size() <= 1")
        .message("one probe at most in a check: write another check for the other probe"),
    validation = Rule::new("!has(self.none) || !has(self.port)").message("none probes no port: remove port").field_path(".port"),
    validation = Rule::new("!has(self.ping) || !has(self.port)").message("ping probes an address and no port: remove port").field_path(".port"),
    validation = Rule::new("!has(self.none) || !has(self.through)").message("none probes nothing: remove through").field_path(".through"),
    validation = Rule::new("!has(self.ping) || !has(self.through) || self.through != 'ForwardingPath'")
        .message("ping goes to the real server's own address, because IPVS balances no echo: remove through").field_path(".through"),
)]
pub struct HealthCheck {
    /// A connection is established (TCP_CHECK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// A request is answered as it should be (HTTP_GET).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// The same over TLS, with a certificate that holds (SSL_GET).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsProbe>,
    /// A datagram is taken, or answered (UDP_CHECK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpProbe>,
    /// A name is resolved, over UDP (DNS_CHECK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsProbe>,
    /// A mail server greets and takes a HELO (SMTP_CHECK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpProbe>,
    /// grpc.health.v1.Health/Check says SERVING, without TLS. keepalived has no such check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcProbe>,
    /// The address answers an ICMP or ICMPv6 echo, with one verdict for all ports of the real server (PING_CHECK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<PingProbe>,
    /// Always healthy: nothing is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<NoProbe>,
    /// The port that is probed, with one verdict for all ports of the real server (`connect_port`). Absent = each port that
    /// packets go to, with a verdict for that port alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// By which way the probe goes. Absent = ForwardingPath for real servers by DR or TUN with `nodeName`, and
    /// RealServerAddress for all others, and for ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<Through>,
    /// From one probe to the next (`delay_loop`); 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: Option<i32>,
    /// How long a probe may take as a whole (`connect_timeout`); 5 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: Option<i32>,
    /// Further probes after a first failure, before the real server is down (`retry`); 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub retries: Option<i32>,
    /// Before each of these (`delay_before_retry`); 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 300))]
    pub retry_interval_seconds: Option<i32>,
    /// Successes in a row before the real server is up; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub rise: Option<i32>,
    /// What a real server is before its first probe; Unhealthy when absent (`alpha`). One that serves already is Healthy,
    /// whatever this says; and after a restart of the agent the last verdict stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<InitialState>,
    /// What becomes of a real server that is down; Remove when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// By which way a probe reaches a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Through {
    /// To its own address.
    RealServerAddress,
    /// To the VIP, as clients' packets go: by IPVS to this real server alone. So a real server is found out that lost its VIP or
    /// its tunnel, and leaves the services of that VIP. For DR and TUN: by NAT and FullNAT, packets go to its own address
    /// anyway, and a probe's answer would prove nothing of the way back to clients. Where the director is the real server
    /// itself, its own address is probed.
    ForwardingPath,
}

/// What a real server is taken for before its first probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InitialState {
    /// Up: it serves until a probe says otherwise.
    Healthy,
    /// Down: it does not serve until a probe passed.
    #[default]
    Unhealthy,
}

/// What becomes of a real server that is down. With Remove it is taken out of the table, and its connections end. With Quiesce it
/// gets weight 0 and keeps its connections, for as long as drain says; when none is left it leaves the table, until it is up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// It is taken out of the table; its connections end.
    #[default]
    Remove,
    /// It gets weight 0, and its connections live on (`inhibit_on_failure`), for as long as `drain` says; when none is left it
    /// leaves the table, until it is up again.
    Quiesce,
}
