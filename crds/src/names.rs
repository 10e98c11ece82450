//! Names, labels, field managers: every string that two programs must agree on.

use crate::placement::Subject;
use sha2::{Digest, Sha256};

/// Field manager of everything that the operator applies.
pub const OPERATOR: &str = "lvs-operator";
/// Field manager of the agents' status writes; one for all, because each object has one agent.
pub const AGENT: &str = "lvs-agent";
/// Finalizer of Placements: they are withdrawn in order before they go, whoever deletes them.
pub const WITHDRAW_FINALIZER: &str = "lvs-operator.io/withdraw";
/// Taint by which an administrator says that a node is off, so that its VIPs may move.
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";
/// An agent whose Lease is older than this is lost, in seconds.
pub const LEASE_SECONDS: i32 = 40;
/// How often an agent renews its Lease, in seconds.
pub const LEASE_RENEW_SECONDS: u64 = 10;
/// After this many seconds beyond its Lease's end, a silent director no longer keeps a host part in place.
pub const SILENT_DIRECTOR_SECONDS: i64 = 30;

/// Label of Placements: the VirtualService that they exist for, for people and their selectors.
pub const VIRTUAL_SERVICE_LABEL: &str = "lvs-operator.io/virtual-service";
/// Label of Placements: the DirectorGroup under whose permission they were placed last. A VirtualService that was edited
/// to another group, and refused there, goes on under this one.
pub const DIRECTOR_GROUP_LABEL: &str = "lvs-operator.io/director-group";

/// What the name of every agent's Lease begins with; the node's name follows.
pub const AGENT_LEASE_PREFIX: &str = "lvs-agent-";

/// Name of an agent's Lease, in the operator's namespace. Its `holderIdentity` is the node's boot id.
pub fn agent_lease(node: &str) -> String {
    format!("{AGENT_LEASE_PREFIX}{node}")
}

/// Name of the Placement of a subject on a node: readable, at most 63 characters, and never parsed. The hash keeps
/// apart what the cut would join.
pub fn placement(namespace: &str, subject: &Subject, node: &str) -> String {
    let identity = format!("{}/{namespace}/{}/{node}", subject.kind.as_str(), subject.name);
    let hash: String = Sha256::digest(identity.as_bytes())
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    let readable: String = format!("{}-{node}", subject.name).chars().take(54).collect();
    format!("{}-{hash}", readable.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::SubjectKind;

    fn subject(name: &str) -> Subject {
        Subject {
            kind: SubjectKind::VirtualService,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_placement_is_named_after_subject_and_node_and_always_hashed() {
        assert_eq!(placement("shop", &subject("web"), "dir1"), "web-dir1-849f1bf8");
        assert_ne!(
            placement("shop", &subject("web"), "dir1"),
            placement("blog", &subject("web"), "dir1")
        );
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let a = placement("shop", &subject(&"a".repeat(63)), "node-one.example");
        let b = placement("shop", &subject(&"a".repeat(63)), "node-two.example");
        assert!(a.len() <= 63 && b.len() <= 63);
        assert_ne!(a, b);
    }
}
