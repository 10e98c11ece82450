//! Whether enough real servers are left, and who serves.

use serde::{Deserialize, Serialize};

/// keepalived.conf(5), `virtual_server`: `quorum` is the "minimum total weight of all live servers in the pool necessary
/// to operate VS with no quality regression", `hysteresis` "tolerate this much weight units compared to the nominal
/// quorum, when considering quorum gain or loss. A flap dampener".
///
/// What keepalived (2.4, `update_quorum_state`) does with them, and so do we:
/// - Up → Down when the weight is **less than quorum − hysteresis**, or nothing is left;
/// - Down → Up when the weight is **at least quorum + hysteresis**; the same decides at the start;
/// - quorum is at least 1, and hysteresis less than quorum: a greater one counts as quorum − 1.
///
/// The weight is the sum of the final weights of real servers that are healthy (and here, too, prepared and not
/// leaving): a ramp of slow start does not lower it, and the sorry server is never in it. With less than quorum +
/// hysteresis of weight in all, a quorum that was lost never comes back, here as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// `quorum`, in units of weight; 0 counts as 1.
    pub minimum_weight: u32,
    /// `hysteresis`, in units of weight.
    pub hysteresis: u32,
}

/// keepalived's defaults, 1 and 0.
impl Default for Quorum {
    fn default() -> Self {
        Self {
            minimum_weight: 1,
            hysteresis: 0,
        }
    }
}

/// Whether a service has its quorum. Kept over a restart: between the two thresholds only its past says which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuorumState {
    /// It has.
    Up,
    /// It has not.
    Down,
}

impl Quorum {
    /// The state of a service of which no former one is known.
    #[must_use]
    pub fn first(self, weight: u64) -> QuorumState {
        self.next(QuorumState::Down, weight)
    }

    /// The state after `state`, now that healthy real servers have `weight` together.
    #[must_use]
    pub fn next(self, state: QuorumState, weight: u64) -> QuorumState {
        let quorum = u64::from(self.minimum_weight.max(1));
        let hysteresis = u64::from(self.hysteresis).min(quorum - 1);
        let threshold = match state {
            QuorumState::Up => quorum - hysteresis,
            QuorumState::Down => quorum + hysteresis,
        };
        if weight < threshold {
            QuorumState::Down
        } else {
            QuorumState::Up
        }
    }
}

/// Whether a service has somebody to take over below quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SorryServer {
    /// No sorry server, or one that is not prepared: to send clients there would help nobody.
    Absent,
    /// A sorry server that can serve. As in keepalived, nothing checks its health.
    Ready,
}

/// Who is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Serving {
    /// The healthy real servers, and not the sorry server.
    RealServers,
    /// The sorry server alone: every real server leaves, the healthy ones too. Whether they are removed or go to
    /// weight 0 is `onFailure`'s to say, and the caller's to do.
    SorryServer,
}

/// keepalived.conf(5), `sorry_server`: "If a sorry server is configured, all real servers will be brought down when the
/// quorum is not achieved and be replaced with the sorry server." Without one, nothing leaves for want of a quorum.
impl Serving {
    /// Who serves in a state of the quorum.
    #[must_use]
    pub fn of(state: QuorumState, sorry_server: SorryServer) -> Self {
        match (state, sorry_server) {
            (QuorumState::Down, SorryServer::Ready) => Self::SorryServer,
            (QuorumState::Down, SorryServer::Absent) | (QuorumState::Up, _) => Self::RealServers,
        }
    }
}

#[cfg(test)]
mod tests;
