//! Answers of the kernel, and what each means for the operation that it answers (F32).

use std::fmt;

/// An error number of the kernel, positive, as in `include/uapi/asm-generic/errno-base.h` and `errno.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

/// The request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `IPVS_CMD_NEW_SERVICE`.
    NewService,
    /// `IPVS_CMD_SET_SERVICE`.
    SetService,
    /// `IPVS_CMD_DEL_SERVICE`.
    DelService,
    /// `IPVS_CMD_GET_SERVICE`, one key or a dump.
    GetService,
    /// `IPVS_CMD_NEW_DEST`.
    NewDest,
    /// `IPVS_CMD_SET_DEST`.
    SetDest,
    /// `IPVS_CMD_DEL_DEST`.
    DelDest,
    /// `IPVS_CMD_GET_DEST`, always a dump of one service.
    GetDest,
}

/// What an error means for the operation, decided here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// What was wanted holds already: a deletion of what is not there. Go on.
    Done,
    /// The table is not what it was believed to be. Read it again and compute the difference again.
    Stale,
    /// The scheduler (or the persistence engine) is not in this kernel: a module is missing. A person must act.
    NoScheduler,
    /// The kernel refuses these values. A person must act; nothing is sent again until they change.
    Invalid,
    /// The kernel has no memory or no time now. The next pass tries again.
    Transient,
    /// The family's number is not (or no longer) that of IPVS: resolve it again. If that fails, the kernel has no `ip_vs`, and a person must act.
    NoFamily,
    /// CAP_NET_ADMIN is missing. A person must act.
    Forbidden,
}

impl Errno {
    /// Operation not permitted: no CAP_NET_ADMIN in the user namespace that owns the network namespace's family.
    pub const EPERM: Self = Self(1);
    /// No scheduler or persistence engine of that name, no such destination, or no such family.
    pub const ENOENT: Self = Self(2);
    /// No such service.
    pub const ESRCH: Self = Self(3);
    /// Interrupted.
    pub const EINTR: Self = Self(4);
    /// Try again.
    pub const EAGAIN: Self = Self(11);
    /// Out of memory.
    pub const ENOMEM: Self = Self(12);
    /// Permission denied.
    pub const EACCES: Self = Self(13);
    /// Busy.
    pub const EBUSY: Self = Self(16);
    /// The entry exists.
    pub const EEXIST: Self = Self(17);
    /// Invalid: an attribute is missing or out of bounds, an address is not unicast.
    pub const EINVAL: Self = Self(22);
    /// Out of range: weight below 0, lower threshold above the upper, a name too long.
    pub const ERANGE: Self = Self(34);
    /// The family does not know this command.
    pub const EOPNOTSUPP: Self = Self(95);
    /// Neither AF_INET nor AF_INET6, or IPv6 is not built in.
    pub const EAFNOSUPPORT: Self = Self(97);
    /// The receive buffer overflowed: operations were done, answers were lost.
    pub const ENOBUFS: Self = Self(105);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl Errno {
    /// The kernel's name of the numbers that IPVS answers with.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EPERM => "EPERM",
            Self::ENOENT => "ENOENT",
            Self::ESRCH => "ESRCH",
            Self::EINTR => "EINTR",
            Self::EAGAIN => "EAGAIN",
            Self::ENOMEM => "ENOMEM",
            Self::EACCES => "EACCES",
            Self::EBUSY => "EBUSY",
            Self::EEXIST => "EEXIST",
            Self::EINVAL => "EINVAL",
            Self::ERANGE => "ERANGE",
            Self::EOPNOTSUPP => "EOPNOTSUPP",
            Self::EAFNOSUPPORT => "EAFNOSUPPORT",
            Self::ENOBUFS => "ENOBUFS",
            Self(_) => return None,
        })
    }
}

impl Meaning {
    /// Whether the same request is worth sending again without anybody acting.
    #[must_use]
    pub fn retries(self) -> bool {
        match self {
            Self::Stale | Self::Transient | Self::NoFamily => true,
            Self::Done | Self::NoScheduler | Self::Invalid | Self::Forbidden => false,
        }
    }
}

/// What `errno` means as the answer to `verb` (F32): total, so that no answer is left to chance.
///
/// ENOENT is shared: for NEW_SERVICE and SET_SERVICE it is "no such scheduler or persistence engine", for SET_DEST and
/// DEL_DEST "no such destination", and for every request it is also the answer of a kernel in which the family's
/// number is void because `ip_vs` was unloaded. So a caller that reads [`Meaning::NoScheduler`] resolves the family
/// again before it tells a person.
#[must_use]
pub fn meaning(verb: Verb, errno: Errno) -> Meaning {
    match errno {
        Errno::ESRCH => match verb {
            Verb::DelService | Verb::DelDest => Meaning::Done,
            // The answer to the question: there is none, and that may be believed.
            Verb::GetService | Verb::GetDest => Meaning::Done,
            Verb::NewService | Verb::SetService | Verb::NewDest | Verb::SetDest => Meaning::Stale,
        },
        Errno::ENOENT => match verb {
            Verb::NewService | Verb::SetService => Meaning::NoScheduler,
            Verb::SetDest => Meaning::Stale,
            Verb::DelDest => Meaning::Done,
            Verb::DelService | Verb::GetService | Verb::NewDest | Verb::GetDest => Meaning::NoFamily,
        },
        Errno::EEXIST => Meaning::Stale,
        Errno::EINVAL | Errno::ERANGE | Errno::EAFNOSUPPORT => Meaning::Invalid,
        // A number that now belongs to another family, which has no such command.
        Errno::EOPNOTSUPP => Meaning::NoFamily,
        Errno::EPERM | Errno::EACCES => Meaning::Forbidden,
        Errno::EINTR | Errno::EAGAIN | Errno::ENOMEM | Errno::EBUSY | Errno::ENOBUFS => Meaning::Transient,
        // Not seen from IPVS. The next pass tries again and says it again, which is better than to fall silent.
        Errno(_) => Meaning::Transient,
    }
}

#[cfg(test)]
mod tests;
