//! Condition types, reasons, and the forty lines that kube has not.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The spec is valid and its claims are held.
pub const ACCEPTED: &str = "Accepted";
/// Everything that the spec names exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Every kernel concerned was read back to be as the spec says.
pub const PROGRAMMED: &str = "Programmed";
/// The real server's host is proven ready, or needs no preparation.
pub const PREPARED: &str = "Prepared";
/// Its health checks pass, by the word of every director that probes it.
pub const HEALTHY: &str = "Healthy";
/// Real servers see a director instead of the client. Present only while it is True.
pub const CLIENT_ADDRESS_HIDDEN: &str = "ClientAddressHidden";
/// Somebody else's firewall on the node drops what must pass. Present only while it is True.
pub const BLOCKED_BY_FIREWALL: &str = "BlockedByFirewall";
/// A scheduler that hashes clients has no fallback. Present only while it is True.
pub const WITHOUT_FALLBACK: &str = "WithoutFallback";
/// FullNAT has used most of its source ports towards a real server. Present only while it is True.
pub const SOURCE_PORTS_LOW: &str = "SourcePortsLow";
/// The summary of the others.
pub const READY: &str = "Ready";
/// Only a person can help. Present only while it is True (kstatus reads it as failed).
pub const STALLED: &str = "Stalled";

/// Reasons, in CamelCase; `kubectl wait` and alerts rely on them.
pub mod reason {
    /// Nothing is known yet, or work is under way.
    pub const PENDING: &str = "Pending";
    /// The spec breaks a rule that the schema cannot say.
    pub const INVALID: &str = "Invalid";
    /// Somebody else holds the VIP, or the VIP and port.
    pub const ADDRESS_CONFLICT: &str = "AddressConflict";
    /// The DirectorGroup does not allow this VIP or this namespace.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// More real servers than a service may have.
    pub const TOO_MANY_REAL_SERVERS: &str = "TooManyRealServers";
    /// `directorGroupName` names none.
    pub const NO_SUCH_DIRECTOR_GROUP: &str = "NoSuchDirectorGroup";
    /// `nodeName` names none.
    pub const NODE_NOT_FOUND: &str = "NodeNotFound";
    /// An agent's Lease expired: its facts are unknown, and its data plane goes on.
    pub const AGENT_LOST: &str = "AgentLost";
    /// The kernel refused a change.
    pub const KERNEL_REFUSED: &str = "KernelRefused";
    /// A kernel module is missing.
    pub const MODULE_MISSING: &str = "ModuleMissing";
    /// The spec holds a field that this agent does not know; the last good one stays.
    pub const UNKNOWN_FIELD: &str = "UnknownField";
    /// Something that is not ours stands where ours belongs.
    pub const FOREIGN_ENTRY: &str = "ForeignEntry";
    /// The VIP is an address of this host, and not our doing; or somebody on the link answers for it.
    pub const ADDRESS_IN_USE: &str = "AddressInUse";
    /// No real server can serve.
    pub const NO_REAL_SERVERS: &str = "NoRealServers";
    /// `sorryServer` names none.
    pub const REAL_SERVER_NOT_FOUND: &str = "RealServerNotFound";
    /// Healthy real servers have less weight than the quorum asks for.
    pub const BELOW_QUORUM: &str = "BelowQuorum";
    /// The sorry server answers in place of the real servers.
    pub const SORRY_SERVER: &str = "SorryServer";
    /// The real server is cordoned: it drains, or has drained.
    pub const CORDONED: &str = "Cordoned";
    /// No live director holds the VIPs.
    pub const NO_ACTIVE_DIRECTOR: &str = "NoActiveDirector";
    /// Two directors report that they hold a VIP.
    pub const DUAL_ACTIVE: &str = "DualActive";
    /// A group without virtual router must select exactly one node.
    pub const NOT_ONE_NODE: &str = "NotOneNode";
    /// Nothing to prepare.
    pub const NOT_REQUIRED: &str = "NotRequired";
    /// The host has not proven itself ready.
    pub const UNPREPARED: &str = "Unprepared";
    /// A health check failed.
    pub const UNHEALTHY: &str = "Unhealthy";
    /// Replies of a NAT real server would not come back through a director.
    pub const NO_RETURN_ROUTE: &str = "NoReturnRoute";
    /// FullNAT rewrites the client's address.
    pub const FULL_NAT: &str = "FullNAT";
    /// What `schedulerFlags` says, or does not.
    pub const SCHEDULER_FLAGS: &str = "SchedulerFlags";
    /// No VirtualService selects it.
    pub const NOT_SELECTED: &str = "NotSelected";
    /// All is well, for conditions without a more telling word.
    pub const OK: &str = "Ok";
}

/// What the operator says of one condition; the rest of `metav1.Condition` follows from the object and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// "True", "False" or "Unknown".
    pub status: &'static str,
    /// One of [`reason`].
    pub reason: &'static str,
    /// For people: what is so, and what to change.
    pub message: String,
}

impl Verdict {
    /// It is so.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: "True",
            reason,
            message: message.into(),
        }
    }
    /// It is not so.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: "False",
            reason,
            message: message.into(),
        }
    }
    /// It cannot be said.
    pub fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: "Unknown",
            reason,
            message: message.into(),
        }
    }
    /// Whether the status is True.
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The conditions that follow from `verdicts`, sorted by type; `lastTransitionTime` is kept from `former` where the
/// status did not change. A type that `verdicts` lacks is dropped.
pub fn settle(
    former: &[Condition],
    verdicts: impl IntoIterator<Item = (&'static str, Verdict)>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut settled: Vec<Condition> = verdicts
        .into_iter()
        .map(|(type_, verdict)| {
            let since = former.iter().find(|c| c.type_ == type_ && c.status == verdict.status);
            Condition {
                type_: type_.to_owned(),
                status: verdict.status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: verdict.message,
                observed_generation: generation,
                last_transition_time: since.map_or(Time(now), |c| c.last_transition_time.clone()),
            }
        })
        .collect();
    settled.sort_by(|a, b| a.type_.cmp(&b.type_));
    settled
}

/// The condition of this type, if it is there.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether the condition of this type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// What the schema gives a new object: every condition Unknown, so that nobody takes silence for health.
pub(crate) fn unknown(types: &[&str]) -> Vec<Condition> {
    let condition = |type_: &&str| Condition {
        type_: (*type_).to_owned(),
        status: "Unknown".to_owned(),
        reason: reason::PENDING.to_owned(),
        message: "Waiting for lvs-operator".to_owned(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    types.iter().map(condition).collect()
}
