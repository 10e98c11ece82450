//! What happened, in words that a trace can be read by.

use crds::{AddressOwner, Placement, PlacementSpec, PlacementStatus};
use operator::{StatusWrite, Write};

pub(crate) fn write(write: &Write) -> String {
    match write {
        Write::CreatePlacement(placement) => format!("create {}", spec(&placement.spec)),
        Write::ApplyPlacement(there) => {
            let version = there.metadata.resource_version.as_deref().unwrap_or_default();
            format!("apply at {version} {}", spec(&there.spec))
        }
        Write::ReleasePlacement { key, .. } => format!("release {key}"),
        Write::DeletePlacement { key, .. } => format!("delete {key}"),
        Write::Status(StatusWrite::VirtualService(key, _)) => format!("status of VirtualService {key}"),
        Write::Status(StatusWrite::RealServer(key, _)) => format!("status of RealServer {key}"),
        Write::Status(StatusWrite::DirectorGroup(name, _)) => format!("status of DirectorGroup {name}"),
        Write::Event(event) => format!("event {}", event.note),
    }
}

pub(crate) fn spec(spec: &PlacementSpec) -> String {
    let mut words = format!("{}@{}", spec.subject.name, spec.node_name);
    if let Some(part) = &spec.director {
        for entry in &part.addresses {
            let owner = match entry.address_owner {
                AddressOwner::Reserved => "reserved",
                AddressOwner::Node => "owned",
            };
            let withdraw = if entry.withdraw { " withdraw" } else { "" };
            words += &format!(" [director {} {owner}{withdraw}]", entry.address);
        }
        for service in &part.services {
            words += &format!(
                " [serves {:?}->{:?}/{}]",
                service.takes(),
                service.target_port,
                service.scheduler.as_str()
            );
        }
        for server in &part.real_servers {
            let to = (
                &server.name,
                server.addresses.join(","),
                server.weight,
                server.prepared.join(","),
            );
            let next = server.next.as_ref().map(|next| next.forwarding_method);
            words += &format!(
                " [to {} {} by {:?} weight {} for {} then {next:?}]",
                to.0, to.1, server.forwarding_method, to.2, to.3
            );
        }
    }
    if let Some(part) = &spec.real_server {
        let guest = |guest: &crds::HostRealServer| {
            let leaving = if guest.leaving { " leaving" } else { "" };
            format!("{} by {:?}{leaving}", guest.name, guest.forwarding_method)
        };
        let guests: Vec<String> = part.real_servers.iter().map(guest).collect();
        if part.addresses.is_empty() {
            words += &format!(" [host of {}]", guests.join(","));
        }
        for entry in &part.addresses {
            let leaving = if entry.leaving { " leaving" } else { "" };
            let withdraw = if entry.withdraw { " withdraw" } else { "" };
            words += &format!(" [host of {} {}{leaving}{withdraw}]", guests.join(","), entry.address);
        }
    }
    if let Some(part) = &spec.virtual_router {
        words += &format!(" [group {part:?}]");
    }
    words
}

pub(crate) fn status(status: &PlacementStatus) -> String {
    let mut words = format!(
        "generation {} in {}",
        status.observed_generation.unwrap_or_default(),
        status.boot_id.as_deref().unwrap_or_default()
    );
    if let Some(report) = &status.director {
        for entry in &report.addresses {
            words += &format!(" [{} {:?}]", entry.address, entry.role);
        }
        for server in &report.real_servers {
            words += &format!(" [to {} {:?}]", server.addresses.join(","), server.state);
        }
    }
    for report in status.real_server.iter() {
        words += &format!(" [host has {}]", report.addresses.join(","));
        for server in &report.real_servers {
            words += &format!(" [{} prepared for {}]", server.name, server.prepared.join(","));
        }
    }
    for report in status.virtual_router.iter() {
        words += &format!(" [group by {}]", report.addresses.join(","));
    }
    for condition in &status.conditions {
        words += &format!(" {}={} {}", condition.type_, condition.status, condition.message);
    }
    words
}

pub(crate) fn placement(placement: &Placement) -> String {
    let meta = &placement.metadata;
    let deleting = if meta.deletion_timestamp.is_some() {
        " (deleting)"
    } else {
        ""
    };
    let said = placement.status.as_ref().map_or("nothing".to_owned(), status);
    format!(
        "version {} generation {}{deleting}: {}\n      said: {said}",
        meta.resource_version.as_deref().unwrap_or_default(),
        meta.generation.unwrap_or_default(),
        spec(&placement.spec)
    )
}
