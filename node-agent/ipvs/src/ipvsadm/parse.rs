//! Reading ipvsadm's lines: what `-Sn` prints, and the commands that [`Change`] prints.

use std::str::{FromStr, SplitWhitespace};

use crate::diff::Change;
use crate::table::{
    DestinationConfig, DestinationKey, Family, ForwardingMethod, Netmask, Protocol, Scheduler, ServiceConfig,
    ServiceFlags, ServiceKey, Table, TunnelFlags, TunnelType,
};

/// A line that is no command of ipvsadm that writes, or whose values do not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} in {line:?}")]
pub struct ParseLineError {
    /// What is wrong.
    pub what: &'static str,
    /// The line.
    pub line: String,
}

impl FromStr for Table {
    type Err = ParseLineError;

    /// Reads `-A` and `-a` lines. Empty lines and those that begin with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, ParseLineError> {
        let mut table = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |what| ParseLineError {
                what,
                line: line.to_owned(),
            };
            table
                .apply(&line.parse()?)
                .map_err(|_| error("an entry that is there already, or one without its service"))?;
        }
        Ok(table)
    }
}

impl FromStr for Change {
    type Err = ParseLineError;

    fn from_str(line: &str) -> Result<Self, ParseLineError> {
        parse(line).map_err(|what| ParseLineError {
            what,
            line: line.to_owned(),
        })
    }
}

fn parse(line: &str) -> Result<Change, &'static str> {
    let mut words = line.split_whitespace();
    let mut command = words.next();
    if command == Some("ipvsadm") {
        command = words.next();
    }
    let options = Options::read(words)?;
    let service = options.service()?;
    Ok(match command.unwrap_or_default() {
        "-A" => Change::AddService {
            service,
            config: options.service_config(service.family())?,
        },
        "-E" => Change::EditService {
            service,
            config: options.service_config(service.family())?,
        },
        "-D" => Change::DeleteService { service },
        "-a" => Change::AddDestination {
            service,
            destination: options.destination()?,
            config: options.config,
        },
        "-e" => Change::EditDestination {
            service,
            destination: options.destination()?,
            config: options.config,
        },
        "-d" => Change::DeleteDestination {
            service,
            destination: options.destination()?,
        },
        _ => return Err("an unknown command"),
    })
}

struct Options<'a> {
    address: Option<(Protocol, &'a str)>,
    mark: Option<u32>,
    ipv6: bool,
    scheduler: &'a str,
    flags: ServiceFlags,
    timeout_seconds: u32,
    mask: Option<&'a str>,
    persistence_engine: Option<&'a str>,
    destination: Option<&'a str>,
    config: DestinationConfig,
}

impl<'a> Options<'a> {
    /// The defaults are ipvsadm's: wlc, direct routing, weight 1, IPIP without checksum.
    fn read(mut words: SplitWhitespace<'a>) -> Result<Self, &'static str> {
        let mut options = Self {
            address: None,
            mark: None,
            ipv6: false,
            scheduler: "wlc",
            flags: ServiceFlags::NONE,
            timeout_seconds: 0,
            mask: None,
            persistence_engine: None,
            destination: None,
            config: DestinationConfig::new(ForwardingMethod::DirectRouting, 1),
        };
        while let Some(word) = words.next() {
            if !options.switch(word) && !options.option(word, &mut words)? {
                return Err("an unknown option");
            }
        }
        Ok(options)
    }

    /// An option without a value.
    fn switch(&mut self, word: &str) -> bool {
        let config = &mut self.config;
        match word {
            "-6" => self.ipv6 = true,
            "-o" => self.flags = self.flags | ServiceFlags::ONE_PACKET,
            "-g" => config.method = ForwardingMethod::DirectRouting,
            "-i" => config.method = ForwardingMethod::Tunnel,
            "-m" => config.method = ForwardingMethod::Masquerade,
            "--tun-nocsum" => config.tunnel.flags = TunnelFlags::NO_CHECKSUM,
            "--tun-csum" => config.tunnel.flags = TunnelFlags::CHECKSUM,
            "--tun-remcsum" => config.tunnel.flags = TunnelFlags::REMOTE_CHECKSUM,
            _ => return false,
        }
        true
    }

    /// An option with a value.
    fn option(&mut self, word: &str, words: &mut SplitWhitespace<'a>) -> Result<bool, &'static str> {
        let mut value = || words.next().ok_or("an option without its value");
        match word {
            "-t" => self.address = Some((Protocol::Tcp, value()?)),
            "-u" => self.address = Some((Protocol::Udp, value()?)),
            "--sctp-service" => self.address = Some((Protocol::Sctp, value()?)),
            "-f" => self.mark = Some(mark(value()?)?),
            "-s" => self.scheduler = value()?,
            "-p" => {
                self.flags = self.flags | ServiceFlags::PERSISTENT;
                self.timeout_seconds = number(value()?)?;
            }
            "-M" => self.mask = Some(value()?),
            "--pe" => self.persistence_engine = Some(value()?),
            // Nothing follows where ipvsadm has no name for the flags that are set.
            "-b" => self.flags = self.flags | scheduler_flags(words.next().unwrap_or_default())?,
            "-r" => self.destination = Some(value()?),
            "-w" => self.config.weight = number(value()?)?,
            "-x" => self.config.upper_threshold = number(value()?)?,
            "-y" => self.config.lower_threshold = number(value()?)?,
            "--tun-port" => self.config.tunnel.port = number(value()?)?,
            "--tun-type" => {
                self.config.tunnel.kind = match value()? {
                    "ipip" => TunnelType::Ipip,
                    "gue" => TunnelType::Gue,
                    "gre" => TunnelType::Gre,
                    _ => return Err("an unknown tunnel type"),
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn service(&self) -> Result<ServiceKey, &'static str> {
        match (self.address, self.mark) {
            (Some((protocol, address)), None) => {
                let socket: DestinationKey = address.parse().map_err(|_| "no address and port")?;
                Ok(ServiceKey::address(protocol, socket.address, socket.port))
            }
            (None, Some(mark)) => {
                let family = if self.ipv6 { Family::Ipv6 } else { Family::Ipv4 };
                ServiceKey::firewall_mark(family, mark).ok_or("mark 0")
            }
            (None, None) | (Some(_), Some(_)) => Err("no service, or two"),
        }
    }

    fn service_config(&self, family: Family) -> Result<ServiceConfig, &'static str> {
        let netmask = match (family, self.mask) {
            (_, None) => Netmask::full(family),
            (Family::Ipv4, Some(mask)) => Netmask::Mask(mask.parse().map_err(|_| "no netmask")?),
            (Family::Ipv6, Some(length)) => Netmask::PrefixLength(number(length)?),
        };
        Ok(ServiceConfig {
            scheduler: Scheduler::new(self.scheduler),
            flags: self.flags,
            timeout_seconds: self.timeout_seconds,
            netmask,
            persistence_engine: self.persistence_engine.map(str::to_owned),
        })
    }

    fn destination(&self) -> Result<DestinationKey, &'static str> {
        let text = self.destination.ok_or("no destination")?;
        text.parse().map_err(|_| "no address and port of a destination")
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, &'static str> {
    text.parse().map_err(|_| "no number")
}

/// Large marks were printed by `%d` and are negative.
fn mark(text: &str) -> Result<u32, &'static str> {
    number(text).or_else(|_| number::<i32>(text).map(i32::cast_unsigned))
}

fn scheduler_flags(names: &str) -> Result<ServiceFlags, &'static str> {
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .try_fold(ServiceFlags::NONE, |flags, name| {
            Ok(flags
                | match name {
                    "flag-1" | "sh-fallback" | "mh-fallback" => ServiceFlags::SCHEDULER_1,
                    "flag-2" | "sh-port" | "mh-port" => ServiceFlags::SCHEDULER_2,
                    "flag-3" => ServiceFlags::SCHEDULER_3,
                    _ => return Err("an unknown scheduler flag"),
                })
        })
}
