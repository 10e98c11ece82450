//! What the kernel checks, in its order (measured; the order where two errors compete is that of `ip_vs_ctl.c`).

use std::net::IpAddr;

use super::FakeIpvs;
use crate::errno::Errno;
use crate::operation::{
    DestinationIdentity, DestinationSettings, Operation, ServiceIdentity, ServiceSettings, TunnelSettings,
};
use crate::table::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, Scheduler, Service, ServiceConfig,
    ServiceFlags, ServiceKey, Tunnel, TunnelFlags, TunnelType,
};
use crate::uapi::{IP_VS_PENAME_MAXLEN, IP_VS_SCHEDNAME_MAXLEN, IP_VS_SVC_F_HASHED, IPPROTO_TCP};

/// The largest value of the kernel's `int`.
const INT_MAX: u32 = i32::MAX as u32;

pub(super) fn execute(kernel: &mut FakeIpvs, operation: &Operation) -> Result<(), Errno> {
    match operation {
        Operation::NewService { service, settings } => new_service(kernel, service, settings),
        Operation::SetService { service, settings } => set_service(kernel, service, settings),
        Operation::DelService { service } => {
            let key = service_key(service)?;
            service_mut(kernel, &key)?;
            refused(kernel, key, None)?;
            kernel.table.services.remove(&key);
            Ok(())
        }
        Operation::NewDest {
            service,
            destination,
            settings,
        } => {
            let (service, key) = destination_key(kernel, service, destination, Some(settings))?;
            let config = destination_config(settings)?;
            if service_mut(kernel, &service)?.destinations.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            unicast(kernel, key.address)?;
            refused(kernel, service, Some(key))?;
            service_mut(kernel, &service)?.destinations.insert(key, config);
            Ok(())
        }
        Operation::SetDest {
            service,
            destination,
            settings,
        } => {
            let (service, key) = destination_key(kernel, service, destination, Some(settings))?;
            let config = destination_config(settings)?;
            if !service_mut(kernel, &service)?.destinations.contains_key(&key) {
                return Err(Errno::ENOENT);
            }
            refused(kernel, service, Some(key))?;
            service_mut(kernel, &service)?.destinations.insert(key, config);
            Ok(())
        }
        Operation::DelDest { service, destination } => {
            let (service, key) = destination_key(kernel, service, destination, None)?;
            if !service_mut(kernel, &service)?.destinations.contains_key(&key) {
                return Err(Errno::ENOENT);
            }
            refused(kernel, service, Some(key))?;
            service_mut(kernel, &service)?.destinations.remove(&key);
            Ok(())
        }
    }
}

fn new_service(kernel: &mut FakeIpvs, service: &ServiceIdentity, settings: &ServiceSettings) -> Result<(), Errno> {
    let key = full_service(service, settings)?;
    if kernel.table.services.contains_key(&key) {
        return Err(Errno::EEXIST);
    }
    let config = service_config(kernel, &key, settings, ServiceFlags::NONE)?;
    refused(kernel, key, None)?;
    // A service that comes with the kernel's own bit is taken for one that is in the table already, and never gets there.
    if settings.flags & settings.mask & IP_VS_SVC_F_HASHED == 0 {
        kernel.table.services.insert(key, Service::new(config));
    }
    Ok(())
}

fn set_service(kernel: &mut FakeIpvs, service: &ServiceIdentity, settings: &ServiceSettings) -> Result<(), Errno> {
    let key = full_service(service, settings)?;
    let present = service_mut(kernel, &key)?.config.flags;
    let config = service_config(kernel, &key, settings, present)?;
    refused(kernel, key, None)?;
    service_mut(kernel, &key)?.config = config;
    Ok(())
}

fn refused(kernel: &FakeIpvs, service: ServiceKey, destination: Option<DestinationKey>) -> Result<(), Errno> {
    kernel
        .refusals
        .get(&(service, destination))
        .map_or(Ok(()), |errno| Err(*errno))
}

fn service_mut<'a>(kernel: &'a mut FakeIpvs, key: &ServiceKey) -> Result<&'a mut Service, Errno> {
    kernel.table.services.get_mut(key).ok_or(Errno::ESRCH)
}

/// Mark 0 is no mark: what is left is TCP on the null address and port 0, whatever else was said.
fn service_key(identity: &ServiceIdentity) -> Result<ServiceKey, Errno> {
    let ServiceIdentity {
        family,
        mark,
        protocol,
        address,
        port,
    } = *identity;
    let family = Family::from_number(family).ok_or(Errno::EAFNOSUPPORT)?;
    Ok(match mark {
        None => ServiceKey::Address {
            protocol: Protocol::from_number(protocol),
            address: family.address(address),
            port,
        },
        Some(mark) => ServiceKey::firewall_mark(family, mark).unwrap_or(ServiceKey::Address {
            protocol: Protocol::from_number(IPPROTO_TCP),
            address: family.address([0; 16]),
            port: 0,
        }),
    })
}

/// The netlink policy judges names before anything is looked up: EINVAL without a zero byte among the first 16.
fn full_service(identity: &ServiceIdentity, settings: &ServiceSettings) -> Result<ServiceKey, Errno> {
    let engine = settings.persistence_engine.as_deref().unwrap_or_default();
    if settings.scheduler.len() >= IP_VS_SCHEDNAME_MAXLEN || engine.len() >= IP_VS_PENAME_MAXLEN {
        return Err(Errno::EINVAL);
    }
    service_key(identity)
}

fn service_config(
    kernel: &FakeIpvs,
    key: &ServiceKey,
    settings: &ServiceSettings,
    present: ServiceFlags,
) -> Result<ServiceConfig, Errno> {
    let ServiceSettings {
        scheduler,
        persistence_engine,
        flags,
        mask,
        timeout,
        netmask,
    } = settings;
    if scheduler != "none" && !kernel.schedulers.contains(scheduler) {
        return Err(Errno::ENOENT);
    }
    let engine = persistence_engine.as_deref().filter(|name| !name.is_empty());
    if engine.is_some_and(|name| !kernel.persistence_engines.contains(name)) {
        return Err(Errno::ENOENT);
    }
    let netmask = Netmask::from_bytes(key.family(), *netmask);
    if let Netmask::PrefixLength(length) = netmask
        && !(1..=128).contains(&length)
    {
        return Err(Errno::EINVAL);
    }
    Ok(ServiceConfig {
        scheduler: Scheduler::new(scheduler.as_str()),
        flags: ServiceFlags::from_bits((present.bits() & !mask) | (flags & mask)),
        timeout_seconds: *timeout,
        netmask,
        persistence_engine: engine.map(str::to_owned),
    })
}

/// The service must exist before the destination is looked at; a destination of the other family must be a tunnel.
fn destination_key(
    kernel: &FakeIpvs,
    service: &ServiceIdentity,
    destination: &DestinationIdentity,
    settings: Option<&DestinationSettings>,
) -> Result<(ServiceKey, DestinationKey), Errno> {
    let service = service_key(service)?;
    if !kernel.table.services.contains_key(&service) {
        return Err(Errno::ESRCH);
    }
    if let Some(settings) = settings {
        policy(kernel, settings)?;
    }
    let DestinationIdentity { family, address, port } = *destination;
    // Family 0 is taken for one that was not sent.
    let family = match family {
        None | Some(0) => service.family(),
        Some(number) => Family::from_number(number).ok_or(Errno::EAFNOSUPPORT)?,
    };
    if let Some(settings) = settings
        && family != service.family()
    {
        let tunnel = ForwardingMethod::from_number(settings.method) == ForwardingMethod::Tunnel;
        if kernel.sync_daemon || !tunnel {
            return Err(Errno::EINVAL);
        }
    }
    Ok((service, DestinationKey::new(family.address(address), port)))
}

/// What the netlink policy and the parser of a full destination refuse.
fn policy(kernel: &FakeIpvs, settings: &DestinationSettings) -> Result<(), Errno> {
    let large = settings.upper_threshold > INT_MAX || settings.lower_threshold > INT_MAX;
    if settings.weight.is_none() || (large && kernel.large_thresholds_refused) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn destination_config(settings: &DestinationSettings) -> Result<DestinationConfig, Errno> {
    let DestinationSettings {
        method,
        weight,
        upper_threshold,
        lower_threshold,
        tunnel,
    } = *settings;
    let weight = weight.ok_or(Errno::EINVAL)?;
    if weight > INT_MAX || lower_threshold > upper_threshold {
        return Err(Errno::ERANGE);
    }
    let TunnelSettings { kind, port, flags } = tunnel.unwrap_or(TunnelSettings {
        kind: 0,
        port: 0,
        flags: 0,
    });
    let kind = TunnelType::from_number(kind);
    // Whatever the forwarding method: the kernel judges the tunnel by its type alone.
    if kind == TunnelType::Gue && port == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(DestinationConfig {
        method: ForwardingMethod::from_number(method),
        weight,
        upper_threshold,
        lower_threshold,
        tunnel: Tunnel {
            kind,
            port,
            flags: TunnelFlags(flags),
        },
    })
}

/// "Address not unicast". Only NEW_DEST looks, and only at what kind of address it is: no route is needed.
fn unicast(kernel: &FakeIpvs, address: IpAddr) -> Result<(), Errno> {
    let refused = match address {
        IpAddr::V4(v4) => {
            kernel.no_addresses
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast()
                || kernel.broadcast_addresses.contains(&address)
        }
        // IPv4-mapped addresses have no type at all there, the null address one of its own.
        IpAddr::V6(v6) => {
            v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.to_ipv4_mapped().is_some()
        }
    };
    if refused { Err(Errno::EINVAL) } else { Ok(()) }
}
