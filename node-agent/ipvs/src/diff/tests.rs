use super::*;
use crate::arbitrary::{service, service_key, table};
use crate::fake::FakeIpvs;
use crate::normalize::as_read_back;
use crate::table::{Family, ForwardingMethod};

use proptest::prelude::*;

proptest! {
    #[test]
    fn a_table_does_not_differ_from_itself(x in table()) {
        prop_assert_eq!(diff(&x, &x), []);
    }

    #[test]
    fn applying_the_difference_gives_the_desired_table(d in table(), o in table()) {
        let mut result = o.clone();
        for change in diff(&d, &o) {
            // Strict: an edit sent as an addition, or an addition of what is there, fails here.
            prop_assert_eq!(result.apply(&change), Ok(()), "{}", change);
        }
        prop_assert_eq!(result, d);
    }

    #[test]
    fn a_kernel_takes_every_change_and_reads_back_the_desired_table(d in table(), o in table()) {
        let mut kernel = FakeIpvs::new();
        kernel.set_persistence_engines(["sip"]);
        kernel.overwrite(o.clone());
        for change in diff(&d, &o) {
            prop_assert_eq!(kernel.apply(&change), Ok(()), "{}", change);
        }
        prop_assert_eq!(kernel.table(), &as_read_back(&d));
        prop_assert_eq!(diff(&d, kernel.table()), []);
    }

    #[test]
    fn nothing_is_deleted_to_be_added_again(d in table(), o in table()) {
        let changes = diff(&d, &o);
        for change in &changes {
            let (service, destination) = (change.service(), change.destination());
            let same = changes.iter().filter(|other| {
                other.service() == service && other.destination() == destination
            });
            prop_assert_eq!(same.count(), 1, "{} is not alone with its key", change);
        }
    }

    #[test]
    fn a_change_and_its_request_have_one_verb(d in table(), o in table()) {
        for change in diff(&d, &o) {
            prop_assert_eq!(change.verb(), crate::Operation::from(&change).verb());
        }
    }

    #[test]
    fn within_a_service_deletions_come_last_and_the_service_first(
        key in service_key(), d in service(Family::Ipv4), o in service(Family::Ipv4),
    ) {
        let changes = diff_service(key, Some(&d), Some(&o));
        let rank = |change: &Change| match change {
            Change::AddService { .. } | Change::EditService { .. } => 0,
            Change::AddDestination { .. } | Change::EditDestination { .. } => 1,
            Change::DeleteDestination { .. } | Change::DeleteService { .. } => 2,
        };
        prop_assert!(changes.is_sorted_by_key(rank), "{:?}", changes);
    }

    #[test]
    fn a_service_that_has_destinations_before_and_after_is_never_without(
        d in table(), o in table(),
    ) {
        let mut moment = o.clone();
        for change in diff(&d, &o) {
            moment.apply(&change).unwrap();
            for (key, service) in &moment.services {
                let served = |table: &Table| {
                    table.services.get(key).is_some_and(|service| !service.destinations.is_empty())
                };
                if served(&d) && served(&o) {
                    prop_assert!(!service.destinations.is_empty(), "{} after {}", key, change);
                }
            }
        }
    }
}

fn parse(text: &str) -> Table {
    text.parse().unwrap()
}

fn lines(changes: &[Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn one_changed_weight_is_one_edit() {
    let observed = parse("-A -t 192.168.56.100:80 -s rr\n-a -t 192.168.56.100:80 -r 192.168.56.11:80 -g -w 1");
    let desired = parse("-A -t 192.168.56.100:80 -s rr\n-a -t 192.168.56.100:80 -r 192.168.56.11:80 -g -w 0");
    assert_eq!(
        lines(&diff(&desired, &observed)),
        ["ipvsadm -e -t 192.168.56.100:80 -r 192.168.56.11:80 -g -w 0"]
    );
}

#[test]
fn a_changed_scheduler_is_edited_in_place() {
    let observed = parse("-A -t 192.168.56.100:80 -s sh");
    let desired = parse("-A -t 192.168.56.100:80 -s wlc");
    assert_eq!(
        lines(&diff(&desired, &observed)),
        ["ipvsadm -E -t 192.168.56.100:80 -s wlc"]
    );
}

#[test]
fn replacing_the_only_destination_adds_before_it_deletes() {
    let observed = parse("-A -f 7 -s rr\n-a -f 7 -r 192.168.56.11:0 -m -w 1");
    let desired = parse("-A -f 7 -s rr\n-a -f 7 -r 192.168.56.12:0 -m -w 1");
    assert_eq!(
        lines(&diff(&desired, &observed)),
        [
            "ipvsadm -a -f 7 -r 192.168.56.12:0 -m -w 1",
            "ipvsadm -d -f 7 -r 192.168.56.11:0"
        ]
    );
}

#[test]
fn a_deleted_service_takes_its_destinations_along() {
    let observed = parse("-A -f 7 -6 -s rr\n-a -f 7 -6 -r [fd56::11]:80 -g -w 1");
    assert_eq!(lines(&diff(&Table::default(), &observed)), ["ipvsadm -D -f 7 -6"]);
}

#[test]
fn every_field_of_a_configuration_counts() {
    let observed = parse("-A -t 192.168.56.100:80 -s rr\n-a -t 192.168.56.100:80 -r 192.168.56.11:80 -i -w 1");
    let key = *observed.services.keys().next().unwrap();
    let destination = *observed.services[&key].destinations.keys().next().unwrap();
    let of_services: [fn(&mut ServiceConfig); 5] = [
        |config| config.scheduler = "wrr".into(),
        |config| config.flags = crate::ServiceFlags::ONE_PACKET,
        |config| config.timeout_seconds = 9,
        |config| config.netmask = crate::Netmask::Mask([255, 255, 255, 0].into()),
        |config| config.persistence_engine = Some("sip".to_owned()),
    ];
    for edit in of_services {
        let mut desired = observed.clone();
        edit(&mut desired.services.get_mut(&key).unwrap().config);
        let changes = diff(&desired, &observed);
        assert!(
            matches!(changes.as_slice(), [Change::EditService { .. }]),
            "{changes:?}"
        );
    }
    let of_destinations: [fn(&mut DestinationConfig); 7] = [
        |config| config.method = ForwardingMethod::Masquerade,
        |config| config.weight = 2,
        |config| config.upper_threshold = 1,
        |config| config.lower_threshold = 1,
        |config| config.tunnel.kind = crate::TunnelType::Gre,
        |config| config.tunnel.port = 1,
        |config| config.tunnel.flags = crate::TunnelFlags::CHECKSUM,
    ];
    for edit in of_destinations {
        let mut desired = observed.clone();
        let service = desired.services.get_mut(&key).unwrap();
        edit(service.destinations.get_mut(&destination).unwrap());
        let changes = diff(&desired, &observed);
        assert!(
            matches!(changes.as_slice(), [Change::EditDestination { .. }]),
            "{changes:?}"
        );
    }
}
