use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 100);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn gratuitous_arp_is_byte_for_byte_what_keepalived_2_3_3_sends() {
    assert_eq!(
        hex(&arp_request(MAC, VIP, BROADCAST, VIP)),
        "ffffffffffff02000000000108060001080006040001020000000001c0a83864ffffffffffffc0a83864"
    );
}

#[test]
fn a_probe_says_nothing_about_its_sender() {
    assert_eq!(
        hex(&arp_request(MAC, Ipv4Addr::UNSPECIFIED, [0; 6], VIP)),
        "ffffffffffff0200000000010806000108000604000102000000000100000000000000000000c0a83864"
    );
}

#[test]
fn only_somebody_else_who_has_the_address_answers_for_it() {
    let other = [2, 0, 0, 0, 0, 2];
    let from = |mac, sender| arp_request(mac, sender, [0; 6], Ipv4Addr::new(192, 168, 56, 1));
    assert!(speaks_for(&from(other, VIP), MAC, VIP));
    assert!(!speaks_for(&from(MAC, VIP), MAC, VIP));
    assert!(!speaks_for(&from(other, Ipv4Addr::new(192, 168, 56, 101)), MAC, VIP));
    assert!(!speaks_for(
        &arp_request(other, Ipv4Addr::UNSPECIFIED, [0; 6], VIP),
        MAC,
        VIP
    ));
    assert!(!speaks_for(&[], MAC, VIP));
    assert!(!speaks_for(&from(other, VIP)[..30], MAC, VIP));
}
