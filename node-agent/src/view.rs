//! What the agent knows of its Placements, and how far that may be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crds::PlacementSpec;
use serde::{Deserialize, Serialize};

use crate::checks::Downs;
use crate::serving::Serving;

/// The Placements of this node as they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// How they came to be known.
    pub source: Source,
    /// The Placements.
    pub placements: BTreeMap<PlacementKey, Placed>,
}

/// Where the knowledge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing is known yet.
    Nothing,
    /// Remembered from before a restart: true once, perhaps incomplete now. Nothing is deleted because it is absent here.
    Disk,
    /// A complete list from the API server, and what came after it.
    Api,
}

/// A Placement's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlacementKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for PlacementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Placement as the agent takes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// `metadata.uid`.
    pub uid: String,
    /// The generation that `spec` is of.
    pub generation: i64,
    /// The last spec that was understood whole.
    pub spec: PlacementSpec,
    /// Why a later spec was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_understood: Option<NotUnderstood>,
    /// Destinations that are down, by our own probes: no part of the Placement, and not remembered with it.
    #[serde(skip)]
    pub down: Downs,
    /// Real servers, by name, of which a check has found out nothing yet; as `down`.
    #[serde(skip)]
    pub untested: BTreeSet<String>,
    /// What is made of its destinations, by the verdicts and the time; as `down`.
    #[serde(skip)]
    pub serving: Serving,
}

impl Placed {
    /// Whether the two ask for the same, and the verdicts say the same. What is made of that is not compared: it follows.
    pub fn asks_as(&self, other: &Self) -> bool {
        let Self {
            uid,
            generation,
            spec,
            not_understood,
            down,
            untested,
            serving: _,
        } = self;
        (uid, generation, spec, not_understood, down, untested)
            == (
                &other.uid,
                &other.generation,
                &other.spec,
                &other.not_understood,
                &other.down,
                &other.untested,
            )
    }
}

/// A spec that holds something that this agent does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUnderstood {
    /// Its generation.
    pub generation: i64,
    /// What it is, in the decoder's words.
    pub words: String,
}

impl Default for View {
    fn default() -> Self {
        Self {
            source: Source::Nothing,
            placements: BTreeMap::new(),
        }
    }
}

impl View {
    /// Whether the two ask for the same: see [`Placed::asks_as`].
    pub fn asks_as(&self, other: &Self) -> bool {
        let placements = self.placements.iter().zip(&other.placements);
        let mut each = placements.map(|((key, placed), (other, there))| key == other && placed.asks_as(there));
        self.source == other.source && self.placements.len() == other.placements.len() && each.all(|same| same)
    }

    /// Whether what is absent here may be deleted from the kernel.
    pub fn is_complete(&self) -> bool {
        match self.source {
            Source::Nothing | Source::Disk => false,
            Source::Api => true,
        }
    }
}
