//! What the kernel does with tunnel devices and ports of GUE.

use ipvs::Errno;

use super::FakeKernel;
use crate::kernel::{KernelError, missing};
use crate::state::Interface;
use crate::tunnel::{Change, GuePort, ReadTunnel, Receiver, Tunnel};

impl FakeKernel {
    /// Somebody else makes a tunnel device, or changes one.
    pub fn set_tunnel(&mut self, name: &str, read: ReadTunnel) {
        let index = self
            .interfaces
            .get(name)
            .map_or_else(|| self.next_index(), |interface| interface.index);
        let interface = Interface {
            index,
            up: read.up,
            ..Interface::default()
        };
        self.set_interface(name, interface);
        self.tunnels.insert(name.to_owned(), read);
    }

    /// The tunnel devices.
    #[must_use]
    pub fn tunnels(&self) -> &std::collections::BTreeMap<String, ReadTunnel> {
        &self.tunnels
    }

    /// Somebody else adds a port (`ip fou add`), or takes one away.
    pub fn set_gue_port(&mut self, port: GuePort, receiver: Option<Receiver>) {
        match receiver {
            Some(receiver) => drop(self.gue_ports.insert(port, receiver)),
            None => drop(self.gue_ports.remove(&port)),
        }
    }

    /// This module is not in the kernel, or is again.
    pub fn set_missing(&mut self, module: &'static str, is_missing: bool) {
        match is_missing {
            true => self.missing_modules.insert(module),
            false => self.missing_modules.remove(module),
        };
    }

    pub(super) fn module(&self, module: &'static str) -> Result<(), KernelError> {
        match self.missing_modules.contains(module) {
            true => Err(missing(module)),
            false => Ok(()),
        }
    }

    pub(super) fn change_tunnel(&mut self, change: &Change) -> Result<(), KernelError> {
        match change {
            Change::AddDevice { name, tunnel } => self.add_tunnel(name, tunnel),
            Change::ReplaceDevice { name, tunnel } => {
                self.remove_interface(name);
                self.add_tunnel(name, tunnel)
            }
            Change::SetUp { name } => {
                let Some(read) = self.tunnels.get_mut(name) else {
                    return Err(KernelError::NoInterface {
                        interface: name.clone(),
                    });
                };
                (read.up, read.marked) = (true, true);
                Ok(())
            }
            Change::DeleteDevice { name } => {
                self.remove_interface(name);
                Ok(())
            }
            Change::AddPort { port } => {
                self.module(GuePort::MODULE)?;
                match self.gue_ports.entry(*port).or_insert(Receiver::Gue) {
                    Receiver::Gue => Ok(()),
                    Receiver::Other => Err(KernelError::Refused {
                        errno: Errno(libc::EADDRINUSE),
                    }),
                }
            }
            Change::DeletePort { port } => {
                self.module(GuePort::MODULE)?;
                self.gue_ports.remove(port);
                Ok(())
            }
        }
    }

    fn add_tunnel(&mut self, name: &str, tunnel: &Tunnel) -> Result<(), KernelError> {
        self.module(tunnel.kind.module())?;
        let ours = ReadTunnel {
            tunnel: tunnel.clone(),
            up: true,
            marked: true,
        };
        if let Some(present) = self.tunnels.get_mut(name).filter(|read| read.tunnel == *tunnel) {
            *present = ours;
            return Ok(());
        }
        // One device for a pair of ends, whatever its name.
        let ends = |tunnel: &Tunnel| (tunnel.kind, tunnel.local, tunnel.remote);
        let is_taken = self.tunnels.values().any(|read| ends(&read.tunnel) == ends(tunnel));
        if is_taken || self.interfaces.contains_key(name) {
            return Err(KernelError::Refused { errno: Errno::EEXIST });
        }
        self.set_tunnel(name, ours);
        Ok(())
    }

    fn next_index(&self) -> u32 {
        self.interfaces
            .values()
            .map(|interface| interface.index)
            .max()
            .unwrap_or_default()
            + 1
    }
}
