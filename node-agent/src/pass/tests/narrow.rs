//! Passes over what changed, and when they are whole ones again.

use super::*;

/// Two VirtualServices on one director.
fn both(web: &str) -> View {
    let mut view = api(web);
    let other = DIRECTOR.replace("192.168.56.100", "192.168.56.101");
    let placed = api(&other).placements.remove(&key()).unwrap();
    view.placements.insert(other_key(), placed);
    view
}

fn other_key() -> PlacementKey {
    PlacementKey {
        namespace: "shop".to_owned(),
        name: "zoo".to_owned(),
    }
}

fn heavy() -> String {
    DIRECTOR.replace("weight: 3", "weight: 7")
}

#[test]
fn a_weight_is_one_change_and_one_status() {
    let mut node = node();
    assert_eq!(pass(&mut node, &both(DIRECTOR)).reach, Reach::Everything);
    let outcome = pass(&mut node, &both(&heavy()));
    assert_eq!(outcome.reach, Reach::Changes);
    check(
        &outcome.done,
        &expect![[r"
            ipvsadm -e -t 192.168.56.100:80 -r 192.168.56.40:80 -g -w 7
        "]],
    );
    assert_eq!(outcome.statuses.keys().collect::<Vec<_>>(), [&key()]);
    assert_eq!(programmed(&outcome).0, "True");
    // And again from there.
    let outcome = pass(&mut node, &both(DIRECTOR));
    assert_eq!((outcome.reach, outcome.done.len()), (Reach::Changes, 1));
    let outcome = pass(&mut node, &both(DIRECTOR));
    assert_eq!(
        (outcome.reach, outcome.done.len(), outcome.statuses.len()),
        (Reach::Changes, 0, 0),
        "nothing has changed, as where it was looked how far a drain is"
    );
}

#[test]
fn a_service_that_goes_is_struck_from_the_ledger() {
    let two = DIRECTOR.replace("services: [", "services: [{protocol: TCP, port: 443, scheduler: rr}, ");
    let mut node = node();
    pass(&mut node, &api(&two));
    let outcome = pass(&mut node, &api(&DIRECTOR.replace("port: 80", "port: 443")));
    let gone = ServiceKey::address(ipvs::Protocol::Tcp, VIP.parse().unwrap(), 80);
    assert!(!node.ledger.services.contains(&gone));
    check(
        &outcome.done,
        &expect![[r"
            ipvsadm -D -t 192.168.56.100:80
        "]],
    );
}

#[test]
fn what_somebody_else_changed_is_a_whole_pass() {
    let mut node = node();
    pass(&mut node, &both(DIRECTOR));
    *node.kernel().ipvs_mut() = ipvs::FakeIpvs::new();
    assert!(node.ipvs_differs());
    let outcome = pass(&mut node, &both(&heavy()));
    assert_eq!((outcome.reach, outcome.done.len()), (Reach::Everything, 6));
    node.network_changed();
    assert_eq!(pass(&mut node, &both(DIRECTOR)).reach, Reach::Everything);
    // What the audit finds is found before anybody asks for a change of it.
    assert_eq!(pass(&mut node, &both(&heavy())).reach, Reach::Changes);
    let table_key = ServiceKey::address(ipvs::Protocol::Tcp, "192.168.56.101".parse().unwrap(), 80);
    let foreign = ipvs::Change::DeleteService { service: table_key };
    node.kernel().ipvs_mut().apply(&foreign).unwrap();
    assert!(node.audit(1));
    let outcome = pass(&mut node, &both(DIRECTOR));
    assert_eq!((outcome.reach, outcome.done.len()), (Reach::Everything, 4));
}

#[test]
fn f30_what_is_left_open_is_judged_by_a_whole_pass() {
    let mut node = node();
    pass(&mut node, &both(DIRECTOR));
    node.kernel().lose_answers(1);
    let outcome = pass(&mut node, &both(&heavy()));
    assert!(outcome.unfinished);
    assert_eq!((outcome.reach, outcome.refusals.len()), (Reach::Everything, 1));
    let outcome = pass(&mut node, &both(&heavy()));
    assert_eq!((outcome.reach, outcome.unfinished), (Reach::Everything, false));
    assert_eq!(programmed(&outcome).0, "True");
}

#[test]
fn more_than_services_is_a_whole_pass() {
    let mut node = node();
    pass(&mut node, &both(DIRECTOR));
    // NAT needs the interface to forward.
    let nat = DIRECTOR.replace("weight: 3, forwardingMethod: DR", "weight: 3, forwardingMethod: NAT");
    assert_eq!(pass(&mut node, &both(&nat)).reach, Reach::Everything);
    let mut view = both(&nat);
    view.placements.remove(&other_key());
    assert_eq!(pass(&mut node, &view).reach, Reach::Everything);
    assert_eq!(node.ledger.services.len(), 1);
}
