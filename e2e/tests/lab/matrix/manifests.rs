//! The objects of a network's rows: one group, two real servers that all services share, a service a row.

use e2e::endpoint::Transport;

use super::rows::{Family, Network, REAL_SERVERS, Row, port};

const HEAD: &str = "apiVersion: lvs-operator.io/v1alpha1";

/// The namespace and the group.
pub(crate) fn group() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{HEAD}\nkind: DirectorGroup\nmetadata: {{name: default}}\n\
         spec:\n  nodeSelector: {{matchLabels: {{lvs-operator.io/director: 'true'}}}}\n  interface: eth0\n\
         \x20 allowedNamespaces: {{from: All}}\n  allowedCIDRs: [192.168.56.0/24, 'fd56::/64']\n"
    )
}

/// A real server of this last byte.
pub(crate) fn real_server(network: Network, (name, last): (&str, u8)) -> String {
    let [four, six] = Family::ALL.map(|family| family.address(network.lan(), last));
    format!(
        "{HEAD}\nkind: RealServer\nmetadata: {{name: {name}, namespace: shop, labels: {{app: matrix}}}}\n\
         spec: {{nodeName: {name}, addresses: [{four}, '{six}']}}\n"
    )
}

/// The service of a row.
pub(crate) fn service(row: &Row) -> String {
    let [four, six] = Family::ALL.map(|family| row.vip(family));
    let ports = Transport::ALL.map(|transport| {
        let port = port(transport);
        let target = match row.mapped_by {
            0 => String::new(),
            by => format!(", targetPort: {}", port + by),
        };
        format!("  - {{protocol: {}, port: {port}{target}}}\n", transport.name())
    });
    let tunnel = row.tunnel.map(|tunnel| format!("  tunnel: {tunnel}\n"));
    format!(
        "{HEAD}\nkind: VirtualService\nmetadata: {{name: {}, namespace: shop}}\nspec:\n  addresses: [{{address: {four}}}, {{address: '{six}'}}]\n\
         \x20 ports:\n{}  scheduler: rr\n  forwardingMethod: {}\n{}  realServerSelector: {{matchLabels: {{app: matrix}}}}\n\
         \x20 healthChecks: [{{none: {{}}}}]\n  drain: {{timeoutSeconds: 1}}\n",
        row.service,
        ports.concat(),
        row.method,
        tunnel.unwrap_or_default(),
    )
}

/// Everything of a network but the group.
pub(crate) fn shop(network: Network) -> String {
    let real_servers = REAL_SERVERS.map(|one| real_server(network, one));
    let services = network.rows().map(service);
    real_servers
        .into_iter()
        .chain(services)
        .collect::<Vec<_>>()
        .join("---\n")
}
