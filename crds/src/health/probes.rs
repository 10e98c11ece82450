//! What is asked of a real server, and what its answer must be.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The probe that connects, and nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TcpProbe {}

/// The probe that asks for a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The path and query, without spaces; "/" when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// The header Host (`virtualhost`); the address and port that are probed when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.:\[\]_-]+$"))]
    pub host: Option<String>,
    /// The method; GET when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Statuses that pass (`status_code`), single ones or ranges; 200-299 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 7), regex(pattern = r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub expected_statuses: Option<Vec<String>>,
    /// A regular expression that the body must match somewhere (`regex`), without look-around and back references. Read
    /// over bytes, of which 256 KiB are read; a longer body fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub body_pattern: Option<String>,
    /// The body's SHA-256 (`digest`, which is of another algorithm there), as `sha256sum` prints it. Of 256 KiB at most.
    #[serde(rename = "bodySHA256", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9A-Fa-f]{64}$"))]
    pub body_sha256: Option<String>,
    /// More headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub headers: Option<Vec<HttpHeader>>,
}

/// The probe that asks for a page over TLS 1.2 or 1.3.
// The fields of `HttpProbe` stand here once more and are not flattened: a field that no type knows would be swallowed then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpsProbe {
    /// The path and query, without spaces; "/" when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// The header Host (`virtualhost`); the address and port that are probed when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.:\[\]_-]+$"))]
    pub host: Option<String>,
    /// The method; GET when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// Statuses that pass (`status_code`), single ones or ranges; 200-299 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 7), regex(pattern = r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub expected_statuses: Option<Vec<String>>,
    /// A regular expression that the body must match somewhere (`regex`), without look-around and back references. Read
    /// over bytes, of which 256 KiB are read; a longer body fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub body_pattern: Option<String>,
    /// The body's SHA-256 (`digest`, which is of another algorithm there), as `sha256sum` prints it. Of 256 KiB at most.
    #[serde(rename = "bodySHA256", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9A-Fa-f]{64}$"))]
    pub body_sha256: Option<String>,
    /// More headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub headers: Option<Vec<HttpHeader>>,
    /// The name that the certificate must be for, and that is asked for in the handshake (`enable_sni`): a DNS name, or an
    /// IP address, which no handshake names. The host when absent, and without one the address that is probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Whoever answers passes, whatever the certificate (which is all that SSL_GET looks at); false when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
    /// Certificates of authorities in PEM, one of which must have signed; those of the agent's image when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub ca_bundle: Option<String>,
}

impl HttpsProbe {
    /// What is asked once TLS stands.
    pub fn http(&self) -> HttpProbe {
        let Self {
            path,
            host,
            method,
            expected_statuses,
            body_pattern,
            body_sha256,
            headers,
            server_name: _,
            insecure_skip_verify: _,
            ca_bundle: _,
        } = self.clone();
        HttpProbe {
            path,
            host,
            method,
            expected_statuses,
            body_pattern,
            body_sha256,
            headers,
        }
    }
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Options,
}

/// One header of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct HttpHeader {
    /// Its name.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 512), regex(pattern = r"^[ -~]*$"))]
    pub value: String,
}

/// The probe that sends a datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UdpProbe {
    /// The datagram (`payload`), in base64; an empty one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1368))]
    pub payload: Option<String>,
    /// Whether any datagram must come back (`require_reply`); false when absent. Without a reply it passes when no ICMP
    /// error comes within half a second, or half of the timeout; hosts send few of these errors, and none
    /// for a VIP that they lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_reply: Option<bool>,
}

/// The probe that asks for records. One record at least, of whatever type, must be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsProbe {
    /// Whose records (`name`), with or without its last dot; "." when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^(\.|[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?)$"
        )
    )]
    pub name: Option<String>,
    /// Which records (`type`); SOA when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_type: Option<DnsRecordType>,
}

/// Records of a name (RFC 1035, and AAAA and SRV later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum DnsRecordType {
    A,
    Aaaa,
    Cname,
    Mx,
    Ns,
    Ptr,
    #[default]
    Soa,
    Srv,
    Txt,
}

impl DnsRecordType {
    /// As in the API, and in zone files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Ptr => "PTR",
            Self::Soa => "SOA",
            Self::Srv => "SRV",
            Self::Txt => "TXT",
        }
    }
}

/// The probe that greets a mail server, and begins no mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SmtpProbe {
    /// Who greets (`helo_name`): a domain or an address literal; "localhost" when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[!-~]+$"))]
    pub helo: Option<String>,
}

/// The probe that asks for a service's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcProbe {
    /// The service's name; the server as a whole when absent or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub service: Option<String>,
}

/// The probe that sends an echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PingProbe {}

/// The probe that probes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoProbe {}
