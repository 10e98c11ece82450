//! Whether replies of real servers by NAT go back through the director, which alone can turn them into the VIP's.
//!
//! Not gating: policy routing, or a route to the clients' network, may do it in ways that are not looked at here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::state::{Facts, Route};

/// What is wrong with the way back from a real server's address; `None` when nothing is, or when it cannot be known.
pub fn bypass(vip: IpAddr, directors: &BTreeSet<IpAddr>, facts: &Facts) -> Option<String> {
    let of_family = |address: &&IpAddr| address.is_ipv4() == vip.is_ipv4();
    let directors: BTreeSet<IpAddr> = directors.iter().filter(of_family).copied().collect();
    // On a director its own replies pass through it anyhow.
    if directors.is_empty() || directors.iter().any(|director| facts.is_own(*director)) {
        return None;
    }
    let defaults = facts.routes.iter().filter(|route| route.network.prefix_len() == 0);
    let defaults: Vec<&Route> = defaults
        .filter(|route| route.network.addr().is_ipv4() == vip.is_ipv4())
        .collect();
    let least = defaults.iter().map(|route| route.metric).min();
    // Several of one metric are the next hops of one route: each takes some connections.
    let mut used = defaults.iter().filter(|route| Some(route.metric) == least);
    let leads_back = |route: &&&Route| route.gateway.is_some_and(|gateway| directors.contains(&gateway));
    if least.is_some() && used.all(|route| leads_back(&route)) {
        return None;
    }
    let names: Vec<String> = directors.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if directors.len() > SHOWN { ", …" } else { "" };
    Some(format!(
        "no default route through the director ({}{more}): replies of NAT would bypass it",
        names.join(", ")
    ))
}

/// Addresses that a message names.
const SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Network, metric, gateway.
    type Shown = (&'static str, u32, &'static str);

    fn facts(routes: &[Shown]) -> Facts {
        let route = |(network, metric, gateway): &Shown| Route {
            network: network.parse().unwrap(),
            metric: *metric,
            interface: "eth0".to_owned(),
            gateway: gateway.parse().ok(),
            source: None,
        };
        let mut facts = Facts {
            routes: routes.iter().map(route).collect(),
            ..Facts::default()
        };
        facts.foreign_addresses.insert(ip("10.0.0.30"), "eth0".to_owned());
        facts
    }

    #[test]
    fn the_best_default_route_must_lead_to_a_director() {
        let directors = BTreeSet::from([ip("10.0.0.20"), ip("10.0.0.21"), ip("fd00::20")]);
        let cases: [(&[Shown], bool); 8] = [
            (&[("0.0.0.0/0", 0, "10.0.0.20")], true),
            (&[("0.0.0.0/0", 100, "10.0.0.21"), ("0.0.0.0/0", 200, "10.0.0.1")], true),
            (
                &[("0.0.0.0/0", 100, "10.0.0.1"), ("0.0.0.0/0", 200, "10.0.0.21")],
                false,
            ),
            (&[("0.0.0.0/0", 0, "10.0.0.20"), ("0.0.0.0/0", 0, "10.0.0.1")], false),
            (&[("0.0.0.0/0", 0, "10.0.0.20"), ("0.0.0.0/0", 0, "10.0.0.21")], true),
            (&[("0.0.0.0/0", 0, "on the link")], false),
            (&[("10.0.0.0/24", 0, "on the link"), ("::/0", 0, "fd00::20")], false),
            (&[], false),
        ];
        for (routes, leads_back) in cases {
            let said = bypass(ip("192.168.56.100"), &directors, &facts(routes));
            assert_eq!(said.is_none(), leads_back, "{routes:?}: {said:?}");
        }
        let ipv6 = facts(&[("::/0", 1024, "fd00::20"), ("0.0.0.0/0", 0, "10.0.0.1")]);
        assert_eq!(bypass(ip("fd56::100"), &directors, &ipv6), None);
        assert_eq!(
            bypass(ip("192.168.56.100"), &directors, &ipv6).as_deref(),
            Some("no default route through the director (10.0.0.20, 10.0.0.21): replies of NAT would bypass it")
        );
    }

    #[test]
    fn nothing_is_said_of_what_cannot_be_known_and_of_the_director_itself() {
        let none = facts(&[]);
        assert_eq!(bypass(ip("192.168.56.100"), &BTreeSet::new(), &none), None);
        assert_eq!(bypass(ip("fd56::100"), &BTreeSet::from([ip("10.0.0.20")]), &none), None);
        assert_eq!(
            bypass(ip("192.168.56.100"), &BTreeSet::from([ip("10.0.0.30")]), &none),
            None
        );
    }
}
