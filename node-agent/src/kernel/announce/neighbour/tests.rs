use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn vip() -> Ipv6Addr {
    "fd56::100".parse().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The checksum of a message with its own in place is 0.
fn is_whole(frame: &[u8]) -> bool {
    let address = |place: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[place..place + 16]).unwrap());
    checksum(address(22), address(38), &frame[54..]) == 0
}

#[test]
fn an_advertisement_goes_to_all_nodes_and_overrides() {
    let frame = advertisement(MAC, vip());
    assert!(is_whole(&frame));
    assert_eq!(
        hex(&frame),
        "333300000001020000000001".to_owned()
            + "86dd6000000000203aff"
            + "fd560000000000000000000000000100"
            + "ff020000000000000000000000000001"
            + "8800"
            + &hex(&frame[56..58])
            + "20000000"
            + "fd560000000000000000000000000100"
            + "0201020000000001"
    );
}

#[test]
fn a_solicitation_says_nothing_about_its_sender() {
    let frame = solicitation(MAC, "fd56::12:3456".parse().unwrap());
    assert!(is_whole(&frame));
    assert_eq!(
        hex(&frame),
        "3333ff123456020000000001".to_owned()
            + "86dd6000000000183aff"
            + "00000000000000000000000000000000"
            + "ff0200000000000000000001ff123456"
            + "8700"
            + &hex(&frame[56..58])
            + "00000000"
            + "fd560000000000000000000000123456"
    );
}

#[test]
fn only_somebody_elses_advertisement_of_the_address_from_this_link_is_an_answer() {
    let other = [2, 0, 0, 0, 0, 2];
    assert!(speaks_for(&advertisement(other, vip()), MAC, vip()));
    assert!(!speaks_for(&advertisement(MAC, vip()), MAC, vip()));
    assert!(!speaks_for(
        &advertisement(other, "fd56::101".parse().unwrap()),
        MAC,
        vip()
    ));
    assert!(!speaks_for(&solicitation(other, vip()), MAC, vip()));
    let mut routed = advertisement(other, vip());
    routed[ETHERNET_HEADER + 7] = 254;
    assert!(!speaks_for(&routed, MAC, vip()));
    for length in 0..54 + 24 {
        assert!(!speaks_for(&advertisement(other, vip())[..length], MAC, vip()));
    }
}
