//! Time as an argument: since boot, in milliseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: how long after boot, by `CLOCK_BOOTTIME`, in milliseconds (so also in serde).
///
/// It means the same to the next process of this boot: the clock neither starts again with the process, nor is set by
/// anybody, nor stands still while the machine sleeps. To another boot it means nothing: keep it as [`OfBoot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// What `CLOCK_BOOTTIME` says, cut to whole milliseconds.
    #[must_use]
    pub fn since_boot(elapsed: Duration) -> Self {
        Self(milliseconds(elapsed))
    }

    /// How long after boot.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// How long after `earlier`; nothing when it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// That much later; the end of time instead of an overflow.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(span)))
    }

    pub(crate) fn milliseconds(self) -> u64 {
        self.0
    }

    pub(crate) fn from_milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds)
    }
}

/// Whole milliseconds of a span.
pub(crate) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What holds moments, with the boot that they belong to: the form in which it goes to disk.
///
/// After a reboot the kernel's table is empty and its clock began anew: a drain is over because no connection is left,
/// and a verdict is as old as nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfBoot<T> {
    boot_id: String,
    value: T,
}

impl<T> OfBoot<T> {
    /// `boot_id` is the text of `/proc/sys/kernel/random/boot_id`.
    #[must_use]
    pub fn new(boot_id: impl Into<String>, value: T) -> Self {
        Self {
            boot_id: boot_id.into(),
            value,
        }
    }

    /// The value, when it is of the boot `boot_id`.
    #[must_use]
    pub fn in_boot(self, boot_id: &str) -> Option<T> {
        (self.boot_id == boot_id).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_milliseconds_on_disk() {
        let moment = Moment::since_boot(Duration::from_micros(12_345_678));
        assert_eq!(serde_json::to_string(&moment).unwrap(), "12345");
        assert_eq!(serde_json::from_str::<Moment>("12345").unwrap(), moment);
    }

    #[test]
    fn moments_do_not_overflow() {
        let last = Moment::since_boot(Duration::MAX);
        assert_eq!(last.after(Duration::from_secs(1)), last);
        assert_eq!(Moment::default().since(last), Duration::ZERO);
    }

    #[test]
    fn what_is_of_another_boot_is_nothing() {
        let kept = serde_json::to_string(&OfBoot::new("a", 7)).unwrap();
        let read = || serde_json::from_str::<OfBoot<u32>>(&kept).unwrap();
        assert_eq!(read().in_boot("a"), Some(7));
        assert_eq!(read().in_boot("b"), None);
    }
}
