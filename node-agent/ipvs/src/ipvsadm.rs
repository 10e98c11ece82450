//! The table and its changes in ipvsadm's language: logs, dry runs, golden files and the oracle read one text.
//!
//! A [`Change`] prints as the command that makes it. A [`Table`] prints as `ipvsadm -Sn` of 1.31 does, byte for byte, with
//! its omissions (thresholds are never saved, nor the tunnel of a destination that is none) and its slips (mark
//! 2^32 − 1 is −1, unknown protocols are `--xxx-service`, unknown methods `(null)`). Where those matter, compare tables.

use std::fmt;
use std::net::IpAddr;

use crate::diff::Change;
use crate::table::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, ServiceConfig, ServiceFlags,
    ServiceKey, Table, TunnelFlags, TunnelType,
};

mod order;
mod parse;
pub use parse::ParseLineError;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService { service, config } => {
                write!(f, "ipvsadm -A {}{}", ServiceName(*service), Saved(*service, config))
            }
            Self::EditService { service, config } => {
                write!(f, "ipvsadm -E {}{}", ServiceName(*service), Saved(*service, config))
            }
            Self::DeleteService { service } => write!(f, "ipvsadm -D {}", ServiceName(*service)),
            Self::AddDestination {
                service,
                destination,
                config,
            } => {
                write!(f, "ipvsadm -a {}", destination_text(*service, *destination, config))?;
                thresholds(f, config)
            }
            Self::EditDestination {
                service,
                destination,
                config,
            } => {
                write!(f, "ipvsadm -e {}", destination_text(*service, *destination, config))?;
                thresholds(f, config)
            }
            Self::DeleteDestination { service, destination } => {
                let (address, port) = (AddressText(destination.address), destination.port);
                write!(f, "ipvsadm -d {} -r {address}:{port}", ServiceName(*service))
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, service) in order::services(self) {
            writeln!(f, "-A {}{}", ServiceName(key), Saved(key, &service.config))?;
            for (destination, config) in order::destinations(service) {
                writeln!(f, "-a {}", destination_text(key, destination, config))?;
            }
        }
        Ok(())
    }
}

/// `-t 192.0.2.1:80`, `-f 7 -6`.
struct ServiceName(ServiceKey);

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ServiceKey::Address {
                protocol,
                address,
                port,
            } => {
                let option = match protocol {
                    Protocol::Tcp => "-t",
                    Protocol::Udp => "-u",
                    Protocol::Sctp => "--sctp-service",
                    Protocol::Other(_) => "--xxx-service",
                };
                write!(f, "{option} {}:{port}", AddressText(address))
            }
            ServiceKey::FirewallMark { family, mark } => {
                // Printed by `%d`.
                write!(f, "-f {}", mark.get().cast_signed())?;
                match family {
                    Family::Ipv4 => Ok(()),
                    Family::Ipv6 => f.write_str(" -6"),
                }
            }
        }
    }
}

/// The options of a service, from ` -s` on.
struct Saved<'a>(ServiceKey, &'a ServiceConfig);

impl fmt::Display for Saved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, config) = self;
        let ServiceConfig {
            scheduler,
            flags,
            timeout_seconds,
            netmask,
            persistence_engine,
        } = config;
        write!(f, " -s {scheduler}")?;
        if flags.contains(ServiceFlags::PERSISTENT) {
            write!(f, " -p {timeout_seconds}")?;
            if *netmask != Netmask::full(key.family()) {
                match netmask {
                    Netmask::Mask(mask) => write!(f, " -M {mask}")?,
                    Netmask::PrefixLength(length) => write!(f, " -M {length}")?,
                }
            }
        }
        if let Some(engine) = persistence_engine {
            write!(f, " --pe {engine}")?;
        }
        if flags.contains(ServiceFlags::ONE_PACKET) {
            f.write_str(" -o")?;
        }
        scheduler_flags(f, scheduler.as_str(), *flags)
    }
}

/// sh and mh have names for the first two bits and none for the third: of that alone they print an empty ` -b `.
fn scheduler_flags(f: &mut fmt::Formatter<'_>, name: &str, flags: ServiceFlags) -> fmt::Result {
    let names: &[&str] = match name {
        "sh" => &["sh-fallback", "sh-port"],
        "mh" => &["mh-fallback", "mh-port"],
        _ => &["flag-1", "flag-2", "flag-3"],
    };
    let bits = [
        ServiceFlags::SCHEDULER_1,
        ServiceFlags::SCHEDULER_2,
        ServiceFlags::SCHEDULER_3,
    ];
    if !bits.iter().any(|bit| flags.contains(*bit)) {
        return Ok(());
    }
    let set = names.iter().zip(bits).filter(|(_, bit)| flags.contains(*bit));
    write!(f, " -b {}", set.map(|(name, _)| *name).collect::<Vec<_>>().join(","))
}

/// From the service to the tunnel, as ipvsadm saves it.
fn destination_text(service: ServiceKey, destination: DestinationKey, config: &DestinationConfig) -> String {
    let DestinationConfig {
        method,
        weight,
        upper_threshold: _,
        lower_threshold: _,
        tunnel,
    } = config;
    let option = match method {
        ForwardingMethod::Masquerade => "-m",
        ForwardingMethod::Tunnel => "-i",
        ForwardingMethod::DirectRouting | ForwardingMethod::Local => "-g",
        ForwardingMethod::Bypass | ForwardingMethod::Other(_) => "(null)",
    };
    let address = AddressText(destination.address);
    let port = destination.port;
    // The weight is printed by `%d`.
    let weight = weight.cast_signed();
    let mut text = format!("{} -r {address}:{port} {option} -w {weight}", ServiceName(service));
    if *method == ForwardingMethod::Tunnel {
        text += &match tunnel.kind {
            TunnelType::Ipip => " --tun-type ipip".to_owned(),
            TunnelType::Gue => {
                let checksum = checksum(tunnel.flags);
                format!(" --tun-type gue --tun-port {}{checksum}", tunnel.port)
            }
            TunnelType::Gre => format!(" --tun-type gre{}", checksum(tunnel.flags)),
            TunnelType::Other(_) => String::new(),
        };
    }
    text
}

fn checksum(flags: TunnelFlags) -> &'static str {
    match flags {
        TunnelFlags::NO_CHECKSUM => " --tun-nocsum",
        TunnelFlags::CHECKSUM => " --tun-csum",
        TunnelFlags::REMOTE_CHECKSUM => " --tun-remcsum",
        // ipvsadm has no word for both and reads past its table here.
        TunnelFlags(_) => "",
    }
}

fn thresholds(f: &mut fmt::Formatter<'_>, config: &DestinationConfig) -> fmt::Result {
    if config.upper_threshold != 0 {
        write!(f, " -x {}", config.upper_threshold)?;
    }
    if config.lower_threshold != 0 {
        write!(f, " -y {}", config.lower_threshold)?;
    }
    Ok(())
}

/// An address as glibc's `inet_ntop` prints it, IPv6 in brackets: `::a.b.c.d` where Rust has `::a:b`.
struct AddressText(IpAddr);

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => match v6.segments() {
                [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                    let [.., a, b, c, d] = v6.octets();
                    write!(f, "[::{a}.{b}.{c}.{d}]")
                }
                _ => write!(f, "[{v6}]"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
