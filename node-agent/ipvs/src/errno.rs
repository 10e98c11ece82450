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
    /// The family is gone or was never there, or may not be used: resolve it again; without `ip_vs` or CAP_NET_ADMIN a person must act.
    NoFamily,
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
