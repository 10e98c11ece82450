//! What the kernel rewrites, so that a difference settles: the desired table as it will be read back.
//!
//! Little is: the kernel keeps almost everything as it was sent, also what it does not use (a tunnel with direct
//! routing, a timeout without persistence, a lower threshold of 0). `IP_VS_SVC_F_HASHED`, which it adds to the flags of
//! every service, cannot even be held by [`ServiceFlags`](crate::ServiceFlags). A destination on an address of the node
//! itself keeps its forwarding method (measured; only its connections are handled locally).

use crate::table::{
    DestinationConfig, ForwardingMethod, Netmask, Protocol, Service, ServiceConfig, ServiceKey, Table, TunnelType,
};

/// The table as the kernel gives it back after taking it.
///
/// Numbers that have a name get it (`Protocol::Other(6)` is TCP), of a forwarding method the low three bits stay, an
/// empty persistence engine is none, and a netmask is read in the service's family. Of keys that become one the
/// last stays.
#[must_use]
pub fn as_read_back(table: &Table) -> Table {
    let services = table.services.iter().map(|(key, service)| {
        let key = service_key(*key);
        let Service { config, destinations } = service;
        let destinations = destinations
            .iter()
            .map(|(key, config)| (*key, destination_config(*config)))
            .collect();
        (
            key,
            Service {
                config: service_config(&key, config),
                destinations,
            },
        )
    });
    Table {
        services: services.collect(),
    }
}

fn service_key(key: ServiceKey) -> ServiceKey {
    match key {
        ServiceKey::Address {
            protocol,
            address,
            port,
        } => ServiceKey::address(Protocol::from_number(protocol.number()), address, port),
        ServiceKey::FirewallMark { family: _, mark: _ } => key,
    }
}

fn service_config(key: &ServiceKey, config: &ServiceConfig) -> ServiceConfig {
    let ServiceConfig {
        scheduler,
        flags,
        timeout_seconds,
        netmask,
        persistence_engine,
    } = config;
    ServiceConfig {
        scheduler: scheduler.clone(),
        flags: *flags,
        timeout_seconds: *timeout_seconds,
        netmask: Netmask::from_bytes(key.family(), netmask.to_bytes()),
        persistence_engine: persistence_engine.clone().filter(|name| !name.is_empty()),
    }
}

fn destination_config(mut config: DestinationConfig) -> DestinationConfig {
    config.method = ForwardingMethod::from_number(config.method.number());
    config.tunnel.kind = TunnelType::from_number(config.tunnel.kind.number());
    config
}

#[cfg(test)]
mod tests;
