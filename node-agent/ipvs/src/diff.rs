//! What must change so that the observed table becomes the desired one.
//!
//! Laws (held by property test): `diff(x, x)` is empty, and applying `diff(d, o)` to `o` gives `d`.

use serde::{Deserialize, Serialize};

use crate::errno::Verb;
use crate::table::{DestinationConfig, DestinationKey, Service, ServiceConfig, ServiceKey, Table};

/// One change of the table: one netlink message, one line of ipvsadm (its `Display`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// NEW_SERVICE, `ipvsadm -A`.
    AddService {
        /// The service.
        service: ServiceKey,
        /// Its configuration.
        config: ServiceConfig,
    },
    /// SET_SERVICE, `ipvsadm -E`: a full replacement; connections are kept.
    EditService {
        /// The service.
        service: ServiceKey,
        /// Its new configuration.
        config: ServiceConfig,
    },
    /// DEL_SERVICE, `ipvsadm -D`: its destinations go with it.
    DeleteService {
        /// The service.
        service: ServiceKey,
    },
    /// NEW_DEST, `ipvsadm -a`.
    AddDestination {
        /// The service that it belongs to.
        service: ServiceKey,
        /// The destination.
        destination: DestinationKey,
        /// Its configuration.
        config: DestinationConfig,
    },
    /// SET_DEST, `ipvsadm -e`: a full replacement; connections are kept.
    EditDestination {
        /// The service that it belongs to.
        service: ServiceKey,
        /// The destination.
        destination: DestinationKey,
        /// Its new configuration.
        config: DestinationConfig,
    },
    /// DEL_DEST, `ipvsadm -d`.
    DeleteDestination {
        /// The service that it belongs to.
        service: ServiceKey,
        /// The destination.
        destination: DestinationKey,
    },
}

impl Change {
    /// The service that is changed, or whose destination is.
    #[must_use]
    pub fn service(&self) -> ServiceKey {
        match self {
            Change::AddService { service, config: _ }
            | Change::EditService { service, config: _ }
            | Change::DeleteService { service }
            | Change::AddDestination {
                service,
                destination: _,
                config: _,
            }
            | Change::EditDestination {
                service,
                destination: _,
                config: _,
            }
            | Change::DeleteDestination {
                service,
                destination: _,
            } => *service,
        }
    }

    /// The destination that is changed; `None` for a change of the service itself.
    #[must_use]
    pub fn destination(&self) -> Option<DestinationKey> {
        match self {
            Change::AddService { service: _, config: _ }
            | Change::EditService { service: _, config: _ }
            | Change::DeleteService { service: _ } => None,
            Change::AddDestination {
                service: _,
                destination,
                config: _,
            }
            | Change::EditDestination {
                service: _,
                destination,
                config: _,
            }
            | Change::DeleteDestination {
                service: _,
                destination,
            } => Some(*destination),
        }
    }

    /// The request that makes the change, for [`meaning`](crate::meaning) of its answer.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Change::AddService { service: _, config: _ } => Verb::NewService,
            Change::EditService { service: _, config: _ } => Verb::SetService,
            Change::DeleteService { service: _ } => Verb::DelService,
            Change::AddDestination {
                service: _,
                destination: _,
                config: _,
            } => Verb::NewDest,
            Change::EditDestination {
                service: _,
                destination: _,
                config: _,
            } => Verb::SetDest,
            Change::DeleteDestination {
                service: _,
                destination: _,
            } => Verb::DelDest,
        }
    }
}

/// The changes that turn `observed` into `desired`: services in the order of their keys, each with its destinations,
/// then the services that are no longer desired.
///
/// `observed` decides what is deleted, so it must hold only what may be deleted: ours, and believed to be complete.
///
/// Guarantees: no key is both deleted and added; cost and length follow the difference; same input, same output.
#[must_use]
pub fn diff(desired: &Table, observed: &Table) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, service) in &desired.services {
        changes.extend(diff_service(*key, Some(service), observed.services.get(key)));
    }
    for key in observed.services.keys() {
        if !desired.services.contains_key(key) {
            changes.push(Change::DeleteService { service: *key });
        }
    }
    changes
}

/// The changes of one service; `None` = it shall not exist, or it does not.
///
/// The service comes first: flags such as `sh-fallback` must be there before a weight goes to 0. Deletions come last:
/// replacing the only destination must not leave a moment without one, in which clients are refused.
#[must_use]
pub fn diff_service(key: ServiceKey, desired: Option<&Service>, observed: Option<&Service>) -> Vec<Change> {
    let mut changes = Vec::new();
    match (desired, observed) {
        (None, None) => {}
        (None, Some(_)) => changes.push(Change::DeleteService { service: key }),
        (Some(desired), None) => {
            changes.push(Change::AddService {
                service: key,
                config: desired.config.clone(),
            });
            for (destination, config) in &desired.destinations {
                changes.push(Change::AddDestination {
                    service: key,
                    destination: *destination,
                    config: *config,
                });
            }
        }
        (Some(desired), Some(observed)) => {
            if desired.config != observed.config {
                changes.push(Change::EditService {
                    service: key,
                    config: desired.config.clone(),
                });
            }
            diff_destinations(key, desired, observed, &mut changes);
        }
    }
    changes
}

fn diff_destinations(service: ServiceKey, desired: &Service, observed: &Service, changes: &mut Vec<Change>) {
    for (destination, config) in &desired.destinations {
        let (destination, config) = (*destination, *config);
        match observed.destinations.get(&destination) {
            None => changes.push(Change::AddDestination {
                service,
                destination,
                config,
            }),
            Some(present) if *present != config => {
                changes.push(Change::EditDestination {
                    service,
                    destination,
                    config,
                });
            }
            Some(_) => {}
        }
    }
    for destination in observed.destinations.keys() {
        if !desired.destinations.contains_key(destination) {
            changes.push(Change::DeleteDestination {
                service,
                destination: *destination,
            });
        }
    }
}

#[cfg(test)]
mod tests;
