//! What the kernel's answer to a change means, for the real kernel and the fake one alike.

use ipvs::{Errno, Meaning, meaning};

use super::KernelError;

/// What `answer` means for an IPVS change. A deletion of what is gone already is done.
pub(super) fn of_ipvs(change: &ipvs::Change, answer: Result<(), Errno>) -> Result<(), KernelError> {
    let Err(errno) = answer else { return Ok(()) };
    match meaning(change.verb(), errno) {
        Meaning::Done => Ok(()),
        Meaning::NoScheduler => match scheduler(change) {
            Some(scheduler) => Err(KernelError::SchedulerMissing { scheduler }),
            None => Err(KernelError::Refused { errno }),
        },
        Meaning::Stale | Meaning::Invalid | Meaning::Transient | Meaning::NoFamily | Meaning::Forbidden => {
            Err(KernelError::Refused { errno })
        }
    }
}

fn scheduler(change: &ipvs::Change) -> Option<String> {
    match change {
        ipvs::Change::AddService { service: _, config } | ipvs::Change::EditService { service: _, config } => {
            Some(config.scheduler.as_str().to_owned())
        }
        ipvs::Change::DeleteService { service: _ }
        | ipvs::Change::AddDestination {
            service: _,
            destination: _,
            config: _,
        }
        | ipvs::Change::EditDestination {
            service: _,
            destination: _,
            config: _,
        }
        | ipvs::Change::DeleteDestination {
            service: _,
            destination: _,
        } => None,
    }
}
