//! Which RealServer is the sorry server of a VirtualService.

use super::Refusal;
use crate::snapshot::{Key, Snapshot};
use crate::view::View;
use crds::conditions::reason;
use crds::{PlacedRealServer, SorryServer};

/// The outcome of `sorryServer`.
pub(super) struct Named<'a> {
    /// The RealServer, member or not.
    pub(super) name: Option<&'a str>,
    /// Condition ResolvedRefs, when there is no such RealServer.
    pub(super) missing: Option<Refusal>,
}

/// The RealServer that the spec names. While there is none of that name the service serves all the same, and is not kept as
/// it is placed: it would stand still for somebody who is needed on a bad day only, and a new one, whose manifests may be
/// applied in any order, would not serve at all. The one that is placed stays the sorry server meanwhile, for a typing
/// error must not take it from clients that it serves.
pub(super) fn named<'a>(view: &View<'a>, subject: &Key, asked: Option<&'a SorryServer>) -> Named<'a> {
    let Some(SorryServer { real_server_name }) = asked else {
        return Named {
            name: None,
            missing: None,
        };
    };
    if exists(view.snapshot, subject, real_server_name) {
        return Named {
            name: Some(real_server_name),
            missing: None,
        };
    }
    let name = placed(view, subject).filter(|placed| exists(view.snapshot, subject, placed));
    let meanwhile = match name {
        Some(name) => format!("{name} stays the sorry server meanwhile"),
        None => "the service has no sorry server meanwhile".to_owned(),
    };
    let message = format!(
        "no RealServer {real_server_name} in namespace {}: create it, or name another in sorryServer ({meanwhile})",
        subject.namespace
    );
    Named {
        name,
        missing: Some(Refusal::new(reason::REAL_SERVER_NOT_FOUND, message)),
    }
}

/// The sorry server by the last accepted spec; one that was that before, and leaves, is not meant.
pub(super) fn placed<'a>(view: &View<'a>, subject: &Key) -> Option<&'a str> {
    let placements = view.placements(subject).iter();
    let parts = placements.filter_map(|placement| placement.spec.director.as_ref());
    let entries = parts.flat_map(|part| &part.real_servers);
    let mut sorry = entries.filter(|entry: &&PlacedRealServer| entry.sorry && !entry.leaving);
    sorry.next().map(|entry| entry.name.as_str())
}

fn exists(snapshot: &Snapshot, subject: &Key, name: &str) -> bool {
    let key = Key::new(&subject.namespace, name);
    let stored = snapshot.real_servers.get(&key).map(|stored| &stored.meta);
    let unreadable = || snapshot.undecodable.real_servers.get(&key).map(|unread| &unread.meta);
    stored.or_else(unreadable).is_some_and(|meta| !meta.deleting)
}
