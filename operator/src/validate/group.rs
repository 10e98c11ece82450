//! DirectorGroups: which node they select, whom they permit what, and what their services share.

use super::Refusal;
use super::addresses::{full_nat_of, machine_of, placed_source_of, real_server_of, vip_of};
use crate::snapshot::StoredDirectorGroup;
use crate::view::View;
use crds::conditions::{Verdict, reason};
use crds::{Masquerade, NamespacesFrom, Selector, Timeouts, UndeclaredPorts};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
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
    /// What its services share on a director; none when that is refused, and stays as it is placed.
    pub shared: Option<Shared>,
    /// Nodes where its timeouts give way to another group's, also those that are placed.
    pub outvoted: BTreeSet<String>,
    networks: Vec<IpNet>,
    from: NamespacesFrom,
    namespaces: Option<Selector>,
}

/// What the services of a group share on a director.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// What becomes of packets to a VIP that no service takes.
    pub undeclared_ports: UndeclaredPorts,
    /// What FullNAT speaks to real servers from.
    pub full_nat_source_addresses: Vec<String>,
    /// Source NAT for networks of real servers.
    pub masquerade: Vec<Masquerade>,
    /// Idle timeouts of connections.
    pub timeouts: Option<Timeouts>,
}

/// All groups that could be read.
pub(super) fn all(view: &View<'_>) -> BTreeMap<String, Group> {
    let groups = view.snapshot.director_groups.iter();
    let mut groups: BTreeMap<String, Group> = groups
        .map(|(name, stored)| (name.clone(), Group::judge(view, name, stored)))
        .collect();
    agree(view, &mut groups);
    groups
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
        let sources = spec.full_nat.as_ref().map(|full_nat| &full_nat.source_addresses);
        let sources = sources.cloned().unwrap_or_default();
        let not_own = sources.iter().find_map(|source| not_its_own(view, name, source));
        let shared = not_own.is_none().then(|| Shared {
            undeclared_ports: spec.undeclared_ports,
            full_nat_source_addresses: sources,
            masquerade: spec.masquerade.clone(),
            timeouts: spec.timeouts,
        });
        let accepted = match (bad, not_own, nodes.as_slice()) {
            (Some(bad), _, _) => Verdict::no(
                reason::INVALID,
                format!("allowedCIDRs: {bad} is not a network: remove it"),
            ),
            (None, Some(words), _) => Verdict::no(reason::INVALID, words),
            (None, None, [one]) => Verdict::yes(reason::OK, format!("{one} is the director")),
            (None, None, _) => Verdict::no(reason::NOT_ONE_NODE, not_one_node(&nodes)),
        };
        Self {
            name: name.to_owned(),
            nodes,
            accepted,
            interface: spec.interface.clone(),
            shared_addresses: spec.shared_addresses,
            shared,
            outvoted: BTreeSet::new(),
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

/// Why FullNAT may not speak from this address. What it speaks from already is judged elsewhere, as with VIPs.
fn not_its_own(view: &View<'_>, group: &str, address: &str) -> Option<String> {
    let others = || {
        let real_server = || real_server_of(view, address).filter(|_| placed_source_of(view, address).is_none());
        vip_of(view, address)
            .or_else(real_server)
            .or_else(|| full_nat_of(view, address, Some(group)))
    };
    let whose = machine_of(view, address).or_else(others)?;
    Some(format!(
        "fullNAT.sourceAddresses: {address} is {whose}: a source address must be an address of its own, choose another"
    ))
}

/// Timeouts are the node's: of groups that meet on one and disagree, the one whose Placement carries its timeouts there
/// has its way, then the older one, then by name.
fn agree(view: &View<'_>, groups: &mut BTreeMap<String, Group>) {
    let mut claims: Vec<_> = groups
        .values()
        .flat_map(|group| group.nodes.iter().map(move |node| (group, node)))
        .filter_map(|(group, node)| {
            let timeouts = group.shared.as_ref()?.timeouts?;
            let is_placed = placed_timeouts(view, &group.name, node) == Some(timeouts);
            let created = view
                .snapshot
                .director_groups
                .get(&group.name)
                .map(|stored| stored.meta.created);
            Some((!is_placed, created, group.name.clone(), node.clone(), timeouts))
        })
        .collect();
    claims.sort_by(|a, b| (a.0, a.1, &a.2, &a.3).cmp(&(b.0, b.1, &b.2, &b.3)));
    let mut holders: Vec<(String, String, Timeouts)> = Vec::new();
    for (_, _, name, node, timeouts) in claims {
        let mut there = holders.iter().filter(|(_, of, _)| *of == node);
        let conflict = there.find_map(|(other, _, theirs)| Some((other, disagreement(theirs, &timeouts)?)));
        let Some((other, what)) = conflict else {
            holders.push((name, node, timeouts));
            continue;
        };
        let words = format!(
            "timeouts.{what} differs from that of DirectorGroup {other}, which meets this one on {node}, and a node has one: \
             make them equal"
        );
        holders.retain(|(of, ..)| *of != name);
        if let Some(group) = groups.get_mut(&name) {
            group.accepted = Verdict::no(reason::INVALID, words);
            group.shared = None;
        }
    }
    for group in groups.values_mut().filter(|group| group.shared.is_none()) {
        let gives_way = |node: &&String| {
            let Some(placed) = placed_timeouts(view, &group.name, node) else {
                return false;
            };
            let mut there = holders.iter().filter(|(_, of, _)| of == *node);
            there.any(|(_, _, theirs)| disagreement(theirs, &placed).is_some())
        };
        group.outvoted = group.nodes.iter().filter(gives_way).cloned().collect();
    }
}

/// The timeouts that a group's Placement carries on a node.
fn placed_timeouts(view: &View<'_>, group: &str, node: &str) -> Option<Timeouts> {
    let placement = view.group_placement(group, node)?;
    let part = placement.spec.virtual_router.as_ref();
    part.filter(|part| !part.withdraw)?.timeouts
}

/// The first timeout that both set, and not alike.
fn disagreement(theirs: &Timeouts, ours: &Timeouts) -> Option<&'static str> {
    let Timeouts {
        tcp_seconds,
        tcp_fin_seconds,
        udp_seconds,
    } = ours;
    let differ = |a: Option<i32>, b: Option<i32>| a.zip(b).is_some_and(|(a, b)| a != b);
    let all = [
        (differ(theirs.tcp_seconds, *tcp_seconds), "tcpSeconds"),
        (differ(theirs.tcp_fin_seconds, *tcp_fin_seconds), "tcpFinSeconds"),
        (differ(theirs.udp_seconds, *udp_seconds), "udpSeconds"),
    ];
    all.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}
