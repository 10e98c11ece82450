//! Checks whose probes could not be made, of a service and of a real server.

use crate::world::{RS1, WEB, World};

/// What stands in the way of a probe: the check, the words, and what it should be.
const UNASKABLE: [(&str, &str); 5] = [
    (
        "http: {bodyPattern: '(ok'}",
        "http.bodyPattern: \"(ok\" is no regular expression: unclosed group: correct it, or remove it",
    ),
    (
        "https: {caBundle: shop}",
        "https.caBundle: the CA bundle holds no certificate in PEM: write the authorities' certificates in PEM",
    ),
    (
        "https: {serverName: a..b}",
        "https.serverName: \"a..b\" is no DNS name and no IP address: write one such as shop.example",
    ),
    (
        "udp: {payload: 'ping!'}",
        "udp.payload: no base64: Invalid symbol 33, offset 4.: write what base64 prints, such as cGluZw==",
    ),
    (
        "http: {expectedStatuses: [299-200]}",
        "http.expectedStatuses: 299-200 holds no status: write the lower one first",
    ),
];

#[test]
fn a_service_whose_probes_cannot_be_made_is_refused_and_goes_on_as_it_was() {
    let checked = |checks: &str| format!("{WEB}  healthChecks: {checks}\n");
    for (check, words) in UNASKABLE {
        let mut world = World::serving();
        world.apply(&checked("[{http: {path: /up}}]"));
        world.settle();
        let before = world.placements();
        world.apply(&checked(&format!("[{{tcp: {{}}}}, {{{check}}}]")));
        world.settle();
        assert_eq!(
            world.said("web", "Accepted"),
            format!("False Invalid: healthChecks[1].{words} (the last accepted spec still serves)")
        );
        assert_eq!(world.placements(), before);
        world.apply(&checked("[{ping: {}}, {dns: {name: shop.example}}]"));
        world.settle();
        assert!(world.said("web", "Accepted").starts_with("True"));
    }
}

#[test]
fn a_real_server_whose_probes_cannot_be_made_is_refused_and_goes_on_as_it_was() {
    for (check, words) in UNASKABLE {
        let mut world = World::serving();
        let before = world.placements();
        world.apply(&RS1.replace("addresses:", &format!("healthChecks: [{{{check}}}], addresses:")));
        world.settle();
        assert_eq!(
            world.said_of_real_server("rs1", "Accepted"),
            format!("False Invalid: VirtualService web: healthChecks[0].{words} (the last accepted spec still serves)")
        );
        assert_eq!(world.placements(), before);
        assert!(
            world.said("web", "Accepted").starts_with("True"),
            "the service is not at fault"
        );

        world.apply(&format!(
            "kind: RealServer\nmetadata: {{name: new, labels: {{app: web}}}}\nspec: {{addresses: [192.168.56.35], healthChecks: [{{{check}}}]}}"
        ));
        world.apply(&format!(
            "kind: RealServer\nmetadata: {{name: alone}}\nspec: {{addresses: [192.168.56.36], healthChecks: [{{{check}}}]}}"
        ));
        world.settle();
        assert_eq!(
            world.said_of_real_server("new", "Accepted"),
            format!("False Invalid: VirtualService web: healthChecks[0].{words}")
        );
        assert_eq!(
            world.said_of_real_server("alone", "Accepted"),
            format!("False Invalid: healthChecks[0].{words}"),
            "nobody selects it"
        );
        assert_eq!(world.placements(), before);
    }
}
