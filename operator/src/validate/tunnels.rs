//! One host unwraps GRE with checksums or without, not both: the kernel takes one device for each pair of addresses.

use super::members::as_placed;
use super::ways::{gre_checksum, way_of};
use super::{Member, MemberRefusal, Refusal, Standing, Validated};
use crate::snapshot::{Key, StoredPlacement};
use crate::view::{View, subject_of};
use crds::conditions::reason;
use crds::{PlacedRealServer, TunnelChecksum};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One real server that is reached by GRE.
struct Claim {
    is_placed: bool,
    created: Timestamp,
    service: Key,
    member: String,
    addresses: Vec<String>,
    checksum: TunnelChecksum,
}

/// Refuses real servers that would need another checksum mode than what their host unwraps for another service. What is
/// placed goes first, then the older service, then by name.
pub(super) fn settle(view: &View<'_>, validated: &mut Validated) {
    let mut claims = claims(view, validated);
    if claims.is_empty() {
        return;
    }
    claims.sort_by(|a, b| {
        let order = |claim: &Claim| (!claim.is_placed, claim.created);
        order(a)
            .cmp(&order(b))
            .then_with(|| (&a.service, &a.member).cmp(&(&b.service, &b.member)))
    });
    let mut modes = going(view, validated);
    for claim in claims {
        let other = claim.addresses.iter().find_map(|address| {
            let (checksum, by) = modes.get(address)?;
            (*checksum != claim.checksum && *by != claim.service).then_some((address, *checksum, by))
        });
        let Some((address, checksum, by)) = other else {
            let mode = (claim.checksum, claim.service);
            modes.extend(claim.addresses.into_iter().map(|address| (address, mode.clone())));
            continue;
        };
        let message = format!(
            "{address} unwraps GRE with checksum {checksum:?} for VirtualService {by}, and a host has one mode: use the same \
             tunnel.checksum, or GUE"
        );
        let refusal = MemberRefusal::Accepted(Refusal::new(reason::INVALID, message));
        let kept = as_placed(view, &claim.service, &claim.member).filter(|kept| agrees(&modes, kept));
        if let Some((checksum, kept)) = kept.as_ref().and_then(|kept| Some((gre_checksum(&kept.way)?, kept))) {
            let mode = (checksum, claim.service.clone());
            for address in &kept.addresses {
                modes.entry(address.clone()).or_insert_with(|| mode.clone());
            }
        }
        if let Some(service) = validated.services.get_mut(&claim.service) {
            let sorry = service.members.remove(&claim.member).is_some_and(|asked| asked.sorry);
            let kept = kept.map(|kept| Member { sorry, ..kept });
            service.refused.insert(claim.member.clone(), refusal.of(kept.as_ref()));
            service.members.extend(kept.map(|kept| (claim.member, kept)));
        }
    }
}

/// The mode of each address, and the service that set it.
type Modes = BTreeMap<String, (TunnelChecksum, Key)>;

fn agrees(modes: &Modes, member: &Member) -> bool {
    let Some(checksum) = gre_checksum(&member.way) else {
        return true;
    };
    let mut set = member.addresses.iter().filter_map(|address| modes.get(address));
    set.all(|(set, _)| *set == checksum)
}

fn claims(view: &View<'_>, validated: &Validated) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (key, service) in &validated.services {
        let created = view
            .snapshot
            .virtual_services
            .get(key)
            .map(|stored| stored.meta.created);
        for member in service.members.values() {
            if let Some(checksum) = gre_checksum(&member.way) {
                claims.push(Claim {
                    is_placed: is_placed(view, key, member),
                    created: created.unwrap_or_default(),
                    service: key.clone(),
                    member: member.name.clone(),
                    addresses: member.addresses.clone(),
                    checksum,
                });
            }
        }
    }
    claims
}

fn is_placed(view: &View<'_>, service: &Key, member: &Member) -> bool {
    let mut entries = view.placements(service).iter().flat_map(|placement| entries(placement));
    entries.any(|entry| entry.name == member.name && entry.addresses == member.addresses && way_of(entry) == member.way)
}

/// What is still placed for services that are taken back: it goes first, until it is gone.
fn going(view: &View<'_>, validated: &Validated) -> Modes {
    let mut modes = BTreeMap::new();
    for placement in view.service_placements() {
        let subject = subject_of(placement);
        let stays = validated
            .services
            .get(&subject)
            .is_some_and(|service| service.standing != Standing::Withdraw);
        if stays {
            continue;
        }
        for entry in entries(placement) {
            if let Some(checksum) = gre_checksum(&way_of(entry)) {
                let mode = (checksum, subject.clone());
                modes.extend(entry.addresses.iter().map(|address| (address.clone(), mode.clone())));
            }
        }
    }
    modes
}

fn entries(placement: &StoredPlacement) -> impl Iterator<Item = &PlacedRealServer> {
    placement.spec.director.iter().flat_map(|part| &part.real_servers)
}
