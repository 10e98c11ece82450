//! What a change does to a table, by the kernel's rules of existence.

use super::*;
use crate::diff::Change;
use crate::errno::Errno;

impl Table {
    /// Applies one change.
    ///
    /// Errors: what the kernel answers when the table is not what the change was made for, and nothing is changed:
    /// EEXIST (the entry is there already), ESRCH (no such service), ENOENT (no such destination). Values are not
    /// judged; [`crate::fake::FakeIpvs`] does that too.
    pub fn apply(&mut self, change: &Change) -> Result<(), Errno> {
        match change {
            Change::AddService { service, config } => {
                if self.services.contains_key(service) {
                    return Err(Errno::EEXIST);
                }
                self.services.insert(*service, Service::new(config.clone()));
            }
            Change::EditService { service, config } => {
                self.service_mut(service)?.config = config.clone();
            }
            Change::DeleteService { service } => {
                self.services.remove(service).ok_or(Errno::ESRCH)?;
            }
            Change::AddDestination {
                service,
                destination,
                config,
            } => {
                let destinations = &mut self.service_mut(service)?.destinations;
                if destinations.contains_key(destination) {
                    return Err(Errno::EEXIST);
                }
                destinations.insert(*destination, *config);
            }
            Change::EditDestination {
                service,
                destination,
                config,
            } => {
                let destinations = &mut self.service_mut(service)?.destinations;
                *destinations.get_mut(destination).ok_or(Errno::ENOENT)? = *config;
            }
            Change::DeleteDestination { service, destination } => {
                let destinations = &mut self.service_mut(service)?.destinations;
                destinations.remove(destination).ok_or(Errno::ENOENT)?;
            }
        }
        Ok(())
    }

    fn service_mut(&mut self, key: &ServiceKey) -> Result<&mut Service, Errno> {
        self.services.get_mut(key).ok_or(Errno::ESRCH)
    }
}
