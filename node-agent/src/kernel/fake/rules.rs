//! What the kernel does with a change of an address or a sysctl.

use std::collections::BTreeMap;

use ipvs::Errno;

use super::{AddressEntry, FakeKernel, Held, entry};
use crate::kernel::KernelError;
use crate::state::{AddressConfig, AddressKey, Interface, Knob, Route, Sysctl};

/// Knobs that each interface has, with their value after boot.
pub(super) const KNOBS_OF_INTERFACES: [(Knob, i64); 7] = [
    (Knob::ArpIgnore, 0),
    (Knob::ArpAnnounce, 0),
    (Knob::RpFilter, 0),
    (Knob::SendRedirects, 1),
    (Knob::AcceptLocal, 0),
    (Knob::Forwarding, 0),
    (Knob::AcceptRa, 1),
];

/// Knobs that there are once.
const KNOBS_OF_A_NODE: [Knob; 3] = [Knob::Ipv6Forwarding, Knob::Conntrack, Knob::ExpireQuiescentTemplate];

/// The value after boot.
pub(super) fn default_of(knob: Knob) -> i64 {
    let mut own = KNOBS_OF_INTERFACES.into_iter();
    own.find(|(own, _)| *own == knob).map_or(0, |(_, value)| value)
}

/// What there is without any interface.
pub(super) fn sysctls_of_a_node() -> BTreeMap<Sysctl, i64> {
    let of_all = KNOBS_OF_INTERFACES.map(|(knob, value)| (Sysctl::of_all(knob), value));
    let once = KNOBS_OF_A_NODE.map(|knob| (Sysctl::of_node(knob), 0));
    of_all.into_iter().chain(once).collect()
}

impl FakeKernel {
    pub(super) fn add_address(&mut self, key: &AddressKey, config: &AddressConfig) -> Result<(), KernelError> {
        self.changes_address(key)?;
        let AddressConfig {
            prefix_length,
            scope,
            lifetime,
        } = *config;
        // IPv6 knows an address once an interface, IPv4 once an interface and prefix length.
        let same = |other: &AddressEntry| {
            other.interface == key.interface
                && other.address == key.address
                && (key.address.is_ipv6() || other.prefix_length == prefix_length)
        };
        let entry = entry(&key.interface, key.address, prefix_length);
        let wanted = Held {
            scope,
            lifetime,
            ours: true,
        };
        let Some((present, held)) = self.addresses.iter_mut().find(|(other, _)| same(other)) else {
            self.addresses.insert(entry, wanted);
            return Ok(());
        };
        if held.ours && held.scope == scope && *present == entry {
            *held = wanted;
            return Ok(());
        }
        Err(KernelError::Refused { errno: Errno::EEXIST })
    }

    pub(super) fn delete_address(&mut self, key: &AddressKey, config: &AddressConfig) -> Result<(), KernelError> {
        match self.changes_address(key) {
            Err(KernelError::NoInterface { interface: _ }) => return Ok(()),
            other => other?,
        }
        // What is gone is done: EADDRNOTAVAIL is no error of a deletion.
        self.addresses
            .remove(&entry(&key.interface, key.address, config.prefix_length));
        Ok(())
    }

    pub(super) fn changes_address(&self, key: &AddressKey) -> Result<(), KernelError> {
        self.interface(&key.interface)?;
        match self.refused_addresses.get(key) {
            Some(errno) => Err(KernelError::Refused { errno: *errno }),
            None => Ok(()),
        }
    }

    pub(super) fn write_sysctl(&mut self, sysctl: &Sysctl, value: i64) -> Result<(), KernelError> {
        let Some(present) = self.sysctls.get_mut(sysctl) else {
            return Err(match &sysctl.interface {
                Some(interface) => KernelError::NoInterface {
                    interface: interface.clone(),
                },
                None => KernelError::NoSysctl { sysctl: sysctl.clone() },
            });
        };
        if self.read_only_sysctls {
            return Err(file_error(sysctl, "Read-only file system (os error 30)"));
        }
        *present = value;
        if sysctl.knob == Knob::Ipv6Forwarding {
            self.forget_learned_routes(value);
        }
        Ok(())
    }

    /// IPv6 forwarding takes the default route from an interface that learned it with accept_ra=1.
    fn forget_learned_routes(&mut self, forwarding: i64) {
        let sysctls = &self.sysctls;
        let forgets = |interface: &str| sysctls.get(&Sysctl::on(interface, Knob::AcceptRa)) == Some(&1);
        let is_learned = |route: &Route| route.network.prefix_len() == 0 && route.network.addr().is_ipv6();
        if forwarding != 0 {
            self.routes
                .retain(|route| !(is_learned(route) && forgets(&route.interface)));
        }
    }

    pub(super) fn interface(&self, name: &str) -> Result<Interface, KernelError> {
        self.interfaces.get(name).copied().ok_or(KernelError::NoInterface {
            interface: name.to_owned(),
        })
    }
}

pub(super) fn file_error(sysctl: &Sysctl, reason: &str) -> KernelError {
    KernelError::File {
        path: format!("/proc/sys/net/{}", sysctl.path()),
        reason: reason.to_owned(),
    }
}
