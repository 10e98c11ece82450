//! Random operations, to be played against the fake kernel and real ones alike.

use super::*;
use crate::uapi::*;

/// A sequence of `count` operations that is the same for the same `seed`, on every machine and in every version of Rust.
///
/// The universe of keys is small (eight services, of which three are common, and twelve destinations), so that operations collide; about one in five
/// carries something that the kernel refuses. Played against a real kernel it needs a namespace with some IPv4 address
/// (`lo` up will do), none of 172.16.0.0/16, and no sync daemon, and a kernel with rr, wrr, wlc and sh.
#[must_use]
pub fn random_operations(seed: u64, count: usize) -> Vec<Operation> {
    let mut random = Random(seed);
    (0..count).map(|place| random.operation(place)).collect()
}

/// splitmix64 (Steele, Lea, Flood 2014): five lines, so that no version of a library can change what a seed means.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.next() % choices.len() as u64;
        choices[usize::try_from(index).unwrap_or_default()].clone()
    }

    /// The first three make the common services, so that what follows is not all refused with ESRCH.
    fn operation(&mut self, place: usize) -> Operation {
        let verbs = [
            [Verb::NewService; 3].as_slice(),
            &[Verb::SetService; 2],
            &[Verb::DelService; 1],
            &[Verb::NewDest; 6],
            &[Verb::SetDest; 4],
            &[Verb::DelDest; 3],
        ]
        .concat();
        let picked = self.pick(&verbs);
        let (verb, wrong, service) = match common_services().get(place) {
            Some(service) => (Verb::NewService, false, *service),
            None => (picked, self.one_in(5), self.service()),
        };
        match verb {
            Verb::NewService | Verb::GetService => {
                let (service, settings) = self.service_settings(service, wrong);
                Operation::NewService { service, settings }
            }
            Verb::SetService => {
                let (service, settings) = self.service_settings(service, wrong);
                Operation::SetService { service, settings }
            }
            Verb::DelService => {
                let family = if wrong { 1 } else { service.family };
                Operation::DelService {
                    service: ServiceIdentity { family, ..service },
                }
            }
            Verb::NewDest => {
                let (destination, settings) = self.destination_settings(&service, wrong);
                Operation::NewDest {
                    service,
                    destination,
                    settings,
                }
            }
            Verb::SetDest => {
                let (destination, settings) = self.destination_settings(&service, wrong);
                Operation::SetDest {
                    service,
                    destination,
                    settings,
                }
            }
            Verb::DelDest | Verb::GetDest => {
                let destination = self.destination(&service, wrong);
                Operation::DelDest { service, destination }
            }
        }
    }

    fn service(&mut self) -> ServiceIdentity {
        if !self.one_in(4) {
            return self.pick(&common_services());
        }
        let v4 = |last: u8| address4([172, 16, 0, last]);
        self.pick(&[
            by_address(AF_INET, IPPROTO_UDP, v4(9), 80),
            by_address(AF_INET, IPPROTO_TCP, v4(10), 0),
            by_address(AF_INET, 50, v4(9), 0),
            by_mark(AF_INET6, 7),
            // The kernel takes mark 0 for TCP 0.0.0.0:0.
            by_mark(AF_INET, 0),
        ])
    }

    fn service_settings(&mut self, mut service: ServiceIdentity, wrong: bool) -> (ServiceIdentity, ServiceSettings) {
        let ipv6 = service.family == AF_INET6;
        let prefix = u32::to_ne_bytes;
        let mut settings = ServiceSettings {
            scheduler: self.pick(&["rr", "wrr", "wlc", "sh", "none"]).to_owned(),
            persistence_engine: None,
            flags: self.pick(&[0, 0x1, 0x4, 0x5, 0x8, 0x18, 0x20]),
            mask: self.pick(&[u32::MAX, u32::MAX, u32::MAX, 0x1, 0x18, 0]),
            timeout: self.pick(&[0, 60, 300, 2_678_401]),
            netmask: if ipv6 {
                self.pick(&[prefix(128), prefix(64), prefix(1)])
            } else {
                self.pick(&[[255; 4], [255, 255, 255, 0], [255, 255, 0, 255]])
            },
        };
        if wrong {
            match self.next() % 5 {
                0 => settings.scheduler = "bad".to_owned(),
                1 => settings.persistence_engine = Some("bad".to_owned()),
                2 => settings.scheduler = "more-than-fifteen".to_owned(),
                3 if ipv6 => settings.netmask = self.pick(&[prefix(0), prefix(129)]),
                _ => service.family = 1,
            }
        }
        (service, settings)
    }

    /// Of the service's family, or of the other one.
    fn destination(&mut self, service: &ServiceIdentity, wrong: bool) -> DestinationIdentity {
        let (family, addresses) = if (service.family == AF_INET6) ^ self.one_in(6) {
            (AF_INET6, [address6(0xfd00, 2), address6(0xfd00, 3)])
        } else {
            (AF_INET, [address4([10, 0, 0, 2]), address4([203, 0, 113, 5])])
        };
        let family = match (wrong, self.one_in(2)) {
            (false, _) => Some(family),
            (true, false) => Some(1),
            // Without a family the kernel reads the address in the service's own, which only a deletion survives.
            (true, true) => None,
        };
        DestinationIdentity {
            family,
            address: self.pick(&addresses),
            port: self.pick(&[80, 80, 80, 8080, 0]),
        }
    }

    fn destination_settings(
        &mut self,
        service: &ServiceIdentity,
        wrong: bool,
    ) -> (DestinationIdentity, DestinationSettings) {
        let mut destination = self.destination(service, false);
        let tunnel = |kind, port, flags| Some(TunnelSettings { kind, port, flags });
        let upper_threshold = self.pick(&[0, 0, 5, 100]);
        let method = if destination.family == Some(service.family) {
            self.pick(&[0, 2, 3, 3, 3, 1, 4, 5, 0x103])
        } else {
            self.pick(&[2, 2, 2, 3])
        };
        let mut settings = DestinationSettings {
            method,
            weight: self.pick(&[Some(0), Some(1), Some(100), Some(65_536), Some(INT_MAX)]),
            upper_threshold,
            lower_threshold: self.pick(&[0, upper_threshold]),
            tunnel: self.pick(&[
                None,
                tunnel(0, 0, 0),
                tunnel(1, 6080, 2),
                tunnel(2, 0, 1),
                tunnel(0, 0, 3),
                tunnel(3, 0, 0),
            ]),
        };
        if wrong {
            match self.next() % 7 {
                0 => settings.weight = Some(u32::MAX),
                1 => settings.weight = Some(INT_MAX + 1),
                2 => settings.weight = None,
                3 => settings.lower_threshold = upper_threshold + 5,
                4 => settings.tunnel = tunnel(1, 0, 0),
                5 => destination.family = Some(1),
                _ => self.not_unicast(&mut destination),
            }
        }
        (destination, settings)
    }

    /// Addresses that are refused whatever addresses and routes the namespace has; and 0.0.0.9, which is not: the
    /// kernel's idea of "this network" has been 0.0.0.0 alone since Linux 5.3.
    fn not_unicast(&mut self, destination: &mut DestinationIdentity) {
        destination.address = if destination.family == Some(AF_INET6) {
            self.pick(&[address6(0xff02, 1), address6(0xfe80, 1), [0; 16]])
        } else {
            self.pick(&[
                address4([255; 4]),
                address4([224, 0, 0, 1]),
                address4([0, 0, 0, 0]),
                address4([0, 0, 0, 9]),
            ])
        };
    }
}

fn common_services() -> [ServiceIdentity; 3] {
    [
        by_address(AF_INET, IPPROTO_TCP, address4([172, 16, 0, 9]), 80),
        by_address(AF_INET6, IPPROTO_TCP, address6(0xfd00, 9), 80),
        by_mark(AF_INET, 7),
    ]
}

fn by_address(family: u16, protocol: u16, address: [u8; 16], port: u16) -> ServiceIdentity {
    ServiceIdentity {
        family,
        mark: None,
        protocol,
        address,
        port,
    }
}

fn by_mark(family: u16, mark: u32) -> ServiceIdentity {
    ServiceIdentity {
        family,
        mark: Some(mark),
        protocol: 0,
        address: [0; 16],
        port: 0,
    }
}

/// The largest value of the kernel's `int`.
const INT_MAX: u32 = i32::MAX as u32;

fn address4(octets: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&octets);
    bytes
}

fn address6(first: u16, last: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&first.to_be_bytes());
    bytes[15] = last;
    bytes
}

#[cfg(test)]
mod tests;
