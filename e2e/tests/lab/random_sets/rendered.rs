//! What manifests ask of the nodes, in the words of ipvsadm and ip. By the API's documentation and from the manifests
//! alone: nothing here knows how lvs-operator does it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a node must have: a service with its real servers, an address, timeouts; and the set that asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) lines: String,
    pub(crate) set: String,
}

/// By node.
pub(crate) type Expected = BTreeMap<String, Vec<Wanted>>;

/// The addresses of the cluster's Nodes: IPv4, IPv6.
pub(crate) type Nodes = BTreeMap<String, [String; 2]>;

/// The idle timeouts of a kernel that was told none: TCP, TCP after a FIN, UDP.
const TIMEOUTS: [i64; 3] = [900, 120, 300];
/// Stands for a mark that manifests do not name.
pub(crate) const MARK_OF_OURS: &str = "OURS";

/// Everything that these manifests ask for.
pub(crate) fn rendered(manifests: &[Value], nodes: &Nodes) -> Expected {
    let mut expected: Expected = nodes.keys().map(|node| (node.clone(), Vec::new())).collect();
    let mut addresses: BTreeMap<String, BTreeSet<Wanted>> = BTreeMap::new();
    for group in of_kind(manifests, "DirectorGroup") {
        let director = text(&group["spec"]["nodeSelector"]["matchLabels"]["kubernetes.io/hostname"]);
        let held = addresses.entry(director.to_owned()).or_default();
        let services = of_kind(manifests, "VirtualService");
        let services: Vec<_> = services
            .filter(|service| service["spec"]["directorGroupName"] == group["metadata"]["name"])
            .collect();
        let mut table = vec![wanted(timeouts(group), group)];
        for service in &services {
            let members = members(manifests, service);
            table.extend(
                blocks(service, &members, nodes)
                    .into_iter()
                    .map(|block| wanted(block, service)),
            );
            held.extend(vips(service).map(|vip| wanted(format!("eth0 {vip}"), service)));
        }
        let sources = &group["spec"]["fullNAT"]["sourceAddresses"];
        for source in list(sources).filter(|_| !services.is_empty()) {
            held.insert(wanted(format!("eth0 {}", text(source)), group));
        }
        expected.entry(director.to_owned()).or_default().extend(table);
    }
    for service in of_kind(manifests, "VirtualService") {
        for member in members(manifests, service) {
            if let Some(node) = member["spec"]["nodeName"].as_str() {
                let accepted = accepted(service, member, nodes).map(|line| wanted(line, service));
                addresses.entry(node.to_owned()).or_default().extend(accepted);
            }
        }
    }
    for (node, held) in addresses {
        expected.entry(node).or_default().extend(held);
    }
    expected
}

fn wanted(lines: String, asker: &Value) -> Wanted {
    // A group has no namespace: it is nobody's set.
    let set = text(&asker["metadata"]["namespace"]).to_owned();
    Wanted { lines, set }
}

/// Manifests of a kind.
pub(crate) fn of_kind<'a>(manifests: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    manifests.iter().filter(move |manifest| manifest["kind"] == kind)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value, default: i64) -> i64 {
    value.as_i64().unwrap_or(default)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn is_six(address: &str) -> bool {
    address.contains(':')
}

fn vips(service: &Value) -> impl Iterator<Item = &str> {
    list(&service["spec"]["addresses"]).map(|entry| text(&entry["address"]))
}

fn timeouts(group: &Value) -> String {
    let given = &group["spec"]["timeouts"];
    let [tcp, tcp_fin, udp] = TIMEOUTS;
    format!(
        "timeouts {} {} {}",
        number(&given["tcpSeconds"], tcp),
        number(&given["tcpFinSeconds"], tcp_fin),
        number(&given["udpSeconds"], udp)
    )
}

/// The real servers that a service selects.
fn members<'a>(manifests: &'a [Value], service: &Value) -> Vec<&'a Value> {
    let selector = &service["spec"]["realServerSelector"];
    let selected = |server: &&Value| {
        server["metadata"]["namespace"] == service["metadata"]["namespace"]
            && is_selected(selector, &server["metadata"]["labels"])
    };
    of_kind(manifests, "RealServer").filter(selected).collect()
}

fn is_selected(selector: &Value, labels: &Value) -> bool {
    let same = |(key, value): (&String, &Value)| labels[key] == *value;
    let fits = |requirement: &Value| {
        let label = labels.get(text(&requirement["key"]));
        let listed = label.is_some_and(|label| list(&requirement["values"]).any(|value| value == label));
        match text(&requirement["operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => label.is_some(),
            _ => label.is_none(),
        }
    };
    selector["matchLabels"].as_object().into_iter().flatten().all(same) && list(&selector["matchExpressions"]).all(fits)
}

/// How a service reaches a real server.
fn method<'a>(service: &'a Value, member: &'a Value) -> &'a str {
    let own = member["spec"]["forwardingMethod"].as_str();
    own.or_else(|| service["spec"]["forwardingMethod"].as_str())
        .unwrap_or("DR")
}

fn addresses_of(member: &Value, nodes: &Nodes) -> Vec<String> {
    let own: Vec<String> = list(&member["spec"]["addresses"])
        .map(|address| text(address).to_owned())
        .collect();
    let of_node = || nodes.get(text(&member["spec"]["nodeName"])).map(|both| both.to_vec());
    if own.is_empty() {
        of_node().unwrap_or_default()
    } else {
        own
    }
}

/// Where packets of a family are sent: to the address of that family; in a tunnel also to one of the other.
fn target(service: &Value, member: &Value, nodes: &Nodes, six: bool) -> Option<String> {
    let addresses = addresses_of(member, nodes);
    let same = addresses.iter().find(|address| is_six(address) == six);
    let tunnelled = method(service, member) == "TUN";
    same.or_else(|| addresses.first().filter(|_| tunnelled)).cloned()
}

/// The VIPs that the host of a real server takes packets for itself: on `lo`, or where they leave a tunnel.
fn accepted<'a>(service: &'a Value, member: &'a Value, nodes: &'a Nodes) -> impl Iterator<Item = String> + 'a {
    let device = match method(service, member) {
        "DR" => Some("lo"),
        "TUN" => Some("tunnel"),
        _ => None,
    };
    let served = vips(service).filter(move |vip| target(service, member, nodes, is_six(vip)).is_some());
    served.filter_map(move |vip| Some(format!("{} {vip}", device?)))
}

/// Each IPVS service of a VirtualService, with its destinations.
fn blocks(service: &Value, members: &[&Value], nodes: &Nodes) -> Vec<String> {
    let spec = &service["spec"];
    let across = spec["persistence"]["acrossPorts"] == true;
    let families: BTreeSet<bool> = vips(service).map(is_six).collect();
    let mut blocks = Vec::new();
    if across || !spec["firewallMark"].is_null() {
        for six in families {
            let mark = match spec["firewallMark"].as_i64() {
                None => MARK_OF_OURS.to_owned(),
                // As ipvsadm prints it: with a sign.
                Some(mark) if mark > i64::from(i32::MAX) => (mark - (1 << 32)).to_string(),
                Some(mark) => mark.to_string(),
            };
            let name = format!("-f {mark}{}", if six { " -6" } else { "" });
            blocks.push(block(service, members, nodes, &name, six, &Value::Null));
        }
        return blocks;
    }
    for vip in vips(service) {
        for port in list(&spec["ports"]) {
            let option = match port["protocol"].as_str() {
                None | Some("TCP") => "-t",
                Some("UDP") => "-u",
                Some(_) => "--sctp-service",
            };
            let name = format!("{option} {}", endpoint(vip, number(&port["port"], 0)));
            blocks.push(block(service, members, nodes, &name, is_six(vip), port));
        }
    }
    blocks
}

fn endpoint(address: &str, port: i64) -> String {
    if is_six(address) {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// The lines of one IPVS service: its own, and then its destinations' in alphabetical order.
fn block(service: &Value, members: &[&Value], nodes: &Nodes, name: &str, six: bool, port: &Value) -> String {
    let mut destinations: Vec<String> = members
        .iter()
        .filter_map(|member| {
            let target = target(service, member, nodes, six)?;
            let method = method(service, member);
            let translated = match method {
                // A service by mark keeps ports, which is written as port 0.
                "NAT" | "FullNAT" if !port.is_null() => {
                    let kept = number(&port["targetPort"], number(&port["port"], 0));
                    number(&member["spec"]["port"], kept)
                }
                _ => number(&port["port"], 0),
            };
            let ways = way(service, member, method);
            Some(format!("-a {name} -r {}{ways}", endpoint(&target, translated)))
        })
        .collect();
    destinations.sort();
    let own = format!("-A {name}{}", options(&service["spec"], six));
    [vec![own], destinations].concat().join("\n")
}

/// Of a service: scheduler, persistence, one packet, flags.
fn options(spec: &Value, six: bool) -> String {
    let scheduler = spec["scheduler"].as_str().unwrap_or("wlc");
    let mut options = format!(" -s {scheduler}");
    let persistence = &spec["persistence"];
    if persistence.is_object() {
        options += &format!(" -p {}", number(&persistence["timeoutSeconds"], 360));
        options += &match six {
            true => prefix_length(number(&persistence["ipv6PrefixLength"], 128)),
            false => mask(number(&persistence["ipv4PrefixLength"], 32)),
        };
        if let Some(engine) = persistence["engine"].as_str() {
            options += &format!(" --pe {engine}");
        }
    }
    if spec["onePacket"] == true {
        options += " -o";
    }
    let by_default = match scheduler {
        "sh" => vec!["sh-fallback"],
        "mh" => vec!["mh-fallback"],
        _ => Vec::new(),
    };
    let flags = spec["schedulerFlags"].as_array();
    let mut flags = flags.map_or(by_default, |flags| flags.iter().map(text).collect());
    flags.sort_unstable();
    if !flags.is_empty() {
        options += &format!(" -b {}", flags.join(","));
    }
    options
}

fn prefix_length(length: i64) -> String {
    match length {
        128 => String::new(),
        _ => format!(" -M {length}"),
    }
}

fn mask(length: i64) -> String {
    if length == 32 {
        return String::new();
    }
    let byte = |at: i64| 256 - (256 >> (length - 8 * at).clamp(0, 8));
    format!(" -M {}.{}.{}.{}", byte(0), byte(1), byte(2), byte(3))
}

/// Of a destination: method, weight, tunnel, and the thresholds, where it has any.
fn way(service: &Value, member: &Value, method: &str) -> String {
    let option = match method {
        "DR" => "-g",
        "TUN" => "-i",
        // What FullNAT has more than NAT is not IPVS's.
        _ => "-m",
    };
    let mut way = format!(" {option} -w {}", number(&member["spec"]["weight"], 1));
    if method == "TUN" {
        let own = &member["spec"]["tunnel"];
        let tunnel = if own.is_null() { &service["spec"]["tunnel"] } else { own };
        let checksum = match tunnel["checksum"].as_str() {
            Some("Checksum") => " --tun-csum",
            Some("RemoteChecksum") => " --tun-remcsum",
            _ => " --tun-nocsum",
        };
        way += &match tunnel["type"].as_str() {
            Some("GUE") => format!(" --tun-type gue --tun-port {}{checksum}", tunnel["port"]),
            Some("GRE") => format!(" --tun-type gre{checksum}"),
            _ => " --tun-type ipip".to_owned(),
        };
    }
    for (field, option) in [("upperThreshold", "-x"), ("lowerThreshold", "-y")] {
        match number(&member["spec"][field], 0) {
            0 => {}
            threshold => way += &format!(" {option} {threshold}"),
        }
    }
    way
}
