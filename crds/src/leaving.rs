//! Who serves while real servers come and go: quorum and sorry server, drains, slow start.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much weight must be healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(
    validation = Rule::new("!has(self.hysteresis) || self.hysteresis < (has(self.minimumWeight) ? self.minimumWeight : 1)")
        .message("hysteresis must be less than minimumWeight: the quorum would never be lost").field_path(".hysteresis"),
)]
pub struct Quorum {
    /// The least weight of healthy real servers together (`quorum`); 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 33553920))]
    pub minimum_weight: Option<i32>,
    /// The quorum is lost so many units below `minimumWeight`, and is back so many above it (`hysteresis`); 0 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 33553919))]
    pub hysteresis: Option<i32>,
}

/// Who takes over below the quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SorryServer {
    /// A RealServer of this namespace, which is prepared like any other. It never counts for the quorum, whether the
    /// selector finds it or not, and nothing probes it, as in keepalived.
    #[schemars(length(min = 1, max = 63))]
    pub real_server_name: String,
}

/// How a real server leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// At weight 0 it keeps its connections until none is left, at most so long; what is left then is reset. 0 = it is cut
    /// at once.
    #[schemars(range(min = 0, max = 86400))]
    pub timeout_seconds: i32,
}

/// As a VirtualService has it that says nothing.
impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: 60 }
    }
}

/// How a real server comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowStart {
    /// Its weight grows to its value in this time after it came up, in up to 15 steps. Meanwhile all weights of the service
    /// are multiplied, because they are integers.
    #[schemars(range(min = 1, max = 3600))]
    pub duration_seconds: i32,
}
