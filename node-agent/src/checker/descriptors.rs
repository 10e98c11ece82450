//! How many probes there may be at once: as many as the process gets descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// So many probes run at once, however many are due and descriptors there are.
const MOST_AT_ONCE: u64 = 4096;
/// Descriptors that are not probes': the kernel's sockets, the API server's, files.
const KEPT: u64 = 256;

/// How many probes may run at once: each is a descriptor, and the process gets as many as it may have, for it starts with
/// 1,024 on most systems (`setrlimit(2)`; the limit is low for the sake of `select(2)`, which nothing here uses).
pub fn most_at_once() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limits.maximum,
        ..limits
    };
    let current = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limits.maximum,
        Err(_) => limits.current,
    };
    let free = current.map_or(MOST_AT_ONCE, |current| current.saturating_sub(KEPT));
    usize::try_from(free.clamp(1, MOST_AT_ONCE)).unwrap_or(1)
}
