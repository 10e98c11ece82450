//! DirectorGroups: which node they select, and whom they permit what.

use super::Refusal;
use crate::snapshot::StoredDirectorGroup;
use crate::view::View;
use crds::NamespacesFrom;
use crds::Selector;
use crds::conditions::{Verdict, reason};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A DirectorGroup as it was judged.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The selected nodes, by name.
    pub nodes: Vec<String>,
    /// Condition Accepted.
    pub accepted: Verdict,
    /// The interface that carries the VIPs.
    pub interface: Option<String>,
    /// Whether namespaces may share a VIP.
    pub shared_addresses: bool,
    networks: Vec<IpNet>,
    from: NamespacesFrom,
    namespaces: Option<Selector>,
}

/// All groups that could be read.
pub(super) fn all(view: &View<'_>) -> BTreeMap<String, Group> {
    let groups = view.snapshot.director_groups.iter();
    groups
        .map(|(name, stored)| (name.clone(), Group::judge(view, name, stored)))
        .collect()
}

/// The group of this name, or why there is none.
pub(super) fn find<'g>(view: &View<'_>, groups: &'g BTreeMap<String, Group>, name: &str) -> Result<&'g Group, Refusal> {
    if let Some(group) = groups.get(name) {
        return Ok(group);
    }
    if let Some(unread) = view.snapshot.undecodable.director_groups.get(name) {
        let message = format!(
            "DirectorGroup {name} cannot be read ({}): ask its administrator",
            unread.error
        );
        return Err(Refusal::new(reason::INVALID, message));
    }
    let message = format!("no DirectorGroup {name}: create it, or name another in directorGroupName");
    Err(Refusal::new(reason::NO_SUCH_DIRECTOR_GROUP, message))
}

impl Group {
    fn judge(view: &View<'_>, name: &str, stored: &StoredDirectorGroup) -> Self {
        let spec = &stored.spec;
        let nodes = view.snapshot.nodes.iter();
        let selected = nodes.filter(|(_, facts)| spec.node_selector.matches(&facts.labels));
        let nodes: Vec<String> = selected.map(|(name, _)| name.clone()).collect();
        let bad = spec.allowed_cidrs.iter().find(|cidr| cidr.parse::<IpNet>().is_err());
        let accepted = match (bad, nodes.as_slice()) {
            (Some(bad), _) => Verdict::no(
                reason::INVALID,
                format!("allowedCIDRs: {bad} is not a network: remove it"),
            ),
            (None, [one]) => Verdict::yes(reason::OK, format!("{one} is the director")),
            (None, _) => Verdict::no(reason::NOT_ONE_NODE, not_one_node(&nodes)),
        };
        Self {
            name: name.to_owned(),
            nodes,
            accepted,
            interface: spec.interface.clone(),
            shared_addresses: spec.shared_addresses,
            networks: spec.allowed_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect(),
            from: spec.allowed_namespaces.from,
            namespaces: spec.allowed_namespaces.namespace_selector.clone(),
        }
    }

    /// The one director; none when the group does not select exactly one node.
    pub fn director(&self) -> Option<&str> {
        match self.nodes.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Whether VIPs may lie here.
    pub(super) fn allows_address(&self, address: &str) -> bool {
        let address = address.parse::<IpAddr>();
        address.is_ok_and(|address| self.networks.iter().any(|network| network.contains(&address)))
    }

    /// Whether this namespace may place VIPs here; nothing when the Namespace is not known (yet).
    pub(super) fn allows_namespace(&self, view: &View<'_>, namespace: &str) -> Option<bool> {
        match self.from {
            NamespacesFrom::All => Some(true),
            NamespacesFrom::Selector => {
                let labels = view.snapshot.namespaces.get(namespace)?;
                Some(
                    self.namespaces
                        .as_ref()
                        .is_some_and(|selector| selector.matches(labels)),
                )
            }
        }
    }

    /// Whether what serves here must go. Not knowing the Namespace is no reason to withdraw anything.
    pub(super) fn forbids(&self, view: &View<'_>, namespace: &str, address: &str) -> bool {
        !self.allows_address(address) || self.allows_namespace(view, namespace) == Some(false)
    }

    /// The networks, for messages.
    pub(super) fn networks(&self) -> String {
        let texts: Vec<String> = self.networks.iter().map(IpNet::to_string).collect();
        texts.join(", ")
    }
}

fn not_one_node(nodes: &[String]) -> String {
    if nodes.is_empty() {
        return "nodeSelector selects no node: label the director's Node".to_owned();
    }
    format!(
        "nodeSelector selects {} nodes ({}): without a virtual router it must select exactly one",
        nodes.len(),
        super::content::some_of(nodes)
    )
}
