//! What the kernel does with a change of an address or a sysctl.

use ipvs::Errno;

use super::{AddressEntry, FakeKernel, Held, entry};
use crate::kernel::KernelError;
use crate::state::{AddressConfig, AddressKey, Interface, Sysctl};

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
            return Err(KernelError::NoInterface {
                interface: sysctl.interface.clone(),
            });
        };
        if self.read_only_sysctls {
            return Err(file_error(sysctl, "Read-only file system (os error 30)"));
        }
        *present = value;
        Ok(())
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
