//! Placements in words that tests can read.

use crds::*;

pub(super) fn method(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::DR => "DR",
        ForwardingMethod::NAT => "NAT",
        ForwardingMethod::TUN => "TUN",
        ForwardingMethod::FullNAT => "FullNAT",
    }
}

/// "DR", "TUN Gue".
pub(super) fn way(method: ForwardingMethod, tunnel: Option<&Tunnel>) -> String {
    let name = self::method(method);
    match tunnel {
        Some(tunnel) => {
            let checksum = tunnel
                .checksum
                .map(|checksum| format!(" {checksum:?}"))
                .unwrap_or_default();
            format!("{name} {:?}{checksum}", tunnel.type_)
        }
        None => name.to_owned(),
    }
}

pub(super) fn lines(placement: &Placement) -> Vec<String> {
    let of = format!("{}@{}", placement.spec.subject.name, placement.spec.node_name);
    let mut lines = Vec::new();
    if placement.metadata.deletion_timestamp.is_some() {
        lines.push(format!("{of} is being deleted"));
    }
    if let Some(part) = &placement.spec.director {
        lines.extend(director_lines(&of, part));
    }
    if let Some(part) = &placement.spec.real_server {
        lines.extend(host_lines(&of, part));
    }
    lines
}

fn director_lines(of: &str, part: &DirectorPart) -> Vec<String> {
    let mut lines = Vec::new();
    for vip in &part.addresses {
        let withdraw = if vip.withdraw { " withdraw" } else { "" };
        lines.push(format!(
            "{of} director {} {:?}{withdraw}",
            vip.address, vip.address_owner
        ));
    }
    let services = part.services.iter().map(|service| {
        let target = service
            .target_port
            .map(|target| format!("->{target}"))
            .unwrap_or_default();
        let taken = match service.takes() {
            Takes::Port { protocol, port } => format!("{protocol:?}/{port}{target}"),
            Takes::Mark(mark) => format!("mark {mark}"),
        };
        let marked = service
            .marked_ports
            .iter()
            .map(|there| format!(" on {:?}/{}", there.protocol, there.port));
        format!("{taken}/{}{}", service.scheduler.as_str(), marked.collect::<String>())
    });
    lines.push(format!(
        "{of} director serves {}",
        services.collect::<Vec<_>>().join(" ")
    ));
    lines.extend(manner(part).map(|manner| format!("{of} director {manner}")));
    for entry in &part.real_servers {
        let (name, addresses, weight) = (&entry.name, entry.addresses.join(","), entry.weight);
        let port = entry.port.map(|port| format!(" port {port}")).unwrap_or_default();
        let way = match way(entry.forwarding_method, entry.tunnel.as_ref()).as_str() {
            "DR" => String::new(),
            other => format!(" by {other}"),
        };
        let next = entry.next.as_ref().map(|next| {
            let next = self::way(next.forwarding_method, next.tunnel.as_ref());
            format!(" then {next}")
        });
        let leaving = if entry.leaving { " leaving" } else { "" };
        let sorry = if entry.sorry { " sorry" } else { "" };
        lines.push(format!(
            "{of} director to {name} {addresses}{port}{way} weight {weight}{sorry}{leaving} for [{}]{}",
            entry.prepared.join(" "),
            next.unwrap_or_default()
        ));
    }
    lines
}

/// Quorum, drain and slow start, where they are not the defaults.
fn manner(part: &DirectorPart) -> Option<String> {
    let drain = part.drain.filter(|drain| *drain != Drain::default());
    let drain = drain.map(|drain| format!("drains {} s", drain.timeout_seconds));
    let quorum = part.quorum.map(|quorum| {
        let hysteresis = quorum.hysteresis.unwrap_or_default();
        format!("quorum {} ± {hysteresis}", quorum.minimum_weight.unwrap_or(1))
    });
    let slow_start = part
        .slow_start
        .map(|slow_start| format!("starts slowly for {} s", slow_start.duration_seconds));
    let all: Vec<String> = [quorum, drain, slow_start].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn host_lines(of: &str, part: &HostPart) -> Vec<String> {
    let is_going = part.addresses.iter().all(|vip| vip.leaving);
    let guest = |guest: &HostRealServer| match way(guest.forwarding_method, guest.tunnel.as_ref()).as_str() {
        "DR" => guest.name.clone(),
        other => format!("{} by {other}", guest.name),
    };
    let named = part.real_servers.iter().filter(|guest| !guest.leaving || is_going);
    let guests = named.map(guest).collect::<Vec<_>>().join(",");
    let left = part.real_servers.iter().filter(|guest| guest.leaving && !is_going);
    let mut lines: Vec<String> = left
        .map(|left| format!("{of} host lets go of {}", guest(left)))
        .collect();
    for vip in &part.addresses {
        let leaving = if vip.leaving { " leaving" } else { "" };
        let withdraw = if vip.withdraw { " withdraw" } else { "" };
        lines.push(format!("{of} host of {guests} {}{leaving}{withdraw}", vip.address));
    }
    if part.addresses.is_empty() {
        lines.push(format!("{of} host of {guests} without VIP"));
    }
    if !part.directors.is_empty() {
        lines.push(format!("{of} host knows {}", part.directors.join(" ")));
    }
    lines
}
