use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn next_hop(flags: u8, interface: u32) -> Vec<u8> {
    let mut bytes = vec![16, 0, flags, 0];
    bytes.extend(interface.to_ne_bytes());
    bytes.extend(attribute(5, &[10, 1, 0, 2]));
    bytes
}

fn names() -> BTreeMap<u32, String> {
    BTreeMap::from([(2, "eth0".to_owned()), (3, "eth1".to_owned())])
}

fn route(header: [u8; 12], attributes: &[Vec<u8>]) -> Vec<String> {
    let payload = [header.to_vec(), attributes.concat()].concat();
    let routes = read_routes(&payload, &names()).unwrap();
    let text = |route: &Route| format!("{} {} {}", route.network, route.interface, route.metric);
    routes.iter().map(text).collect()
}

/// struct rtmsg: family, destination's prefix length, source's, tos, table, protocol, scope, type, flags.
const TO_16: [u8; 12] = [2, 16, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];

#[test]
fn a_route_leaves_by_each_next_hop_that_lives() {
    let destination = attribute(RTA_DST, &[10, 9, 0, 0]);
    let hops = [next_hop(0, 2), next_hop(DEAD, 3), next_hop(0, 3), next_hop(0, 99)].concat();
    let multipath = attribute(RTA_MULTIPATH, &hops);
    assert_eq!(
        route(TO_16, &[destination, multipath]),
        ["10.9.0.0/16 eth0 0", "10.9.0.0/16 eth1 0"]
    );
}

#[test]
fn a_table_beyond_255_is_told_by_its_attribute() {
    let destination = attribute(RTA_DST, &[10, 9, 0, 0]);
    let interface = attribute(RTA_OIF, &2_u32.to_ne_bytes());
    let table = |number: u32| attribute(RTA_TABLE, &number.to_ne_bytes());
    let attributes = [destination, interface];
    assert_eq!(route(TO_16, &[attributes.concat(), table(254)]), ["10.9.0.0/16 eth0 0"]);
    assert!(route(TO_16, &[attributes.concat(), table(1000)]).is_empty());
}

#[test]
fn a_route_says_which_address_it_is_left_from() {
    let destination = attribute(RTA_DST, &[10, 9, 0, 0]);
    let interface = attribute(RTA_OIF, &2_u32.to_ne_bytes());
    let source = attribute(RTA_PREFSRC, &[10, 9, 0, 7]);
    let payload = [TO_16.to_vec(), destination, interface, source].concat();
    let routes = read_routes(&payload, &names()).unwrap();
    assert_eq!(routes[0].source, Some(IpAddr::from([10, 9, 0, 7])));
}

#[test]
fn a_member_of_a_vrf_speaks_arp_itself_and_one_of_a_bridge_does_not() {
    let port_of = |kind: &[u8]| {
        // struct ifinfomsg: Ethernet, index 2, IFF_UP.
        let header = [0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].to_vec();
        let master = attribute(IFLA_MASTER, &9_u32.to_ne_bytes());
        let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_SLAVE_KIND, kind));
        read_link(&[header, master, info].concat()).unwrap().interface()
    };
    assert!(port_of(b"bridge\0").enslaved);
    assert!(port_of(b"bond\0").enslaved);
    assert!(!port_of(b"vrf\0").enslaved && port_of(b"vrf\0").arp);
}

#[test]
fn what_the_module_of_gre_brings_is_no_link_until_somebody_sets_it_up() {
    let speaks_arp = |flags: u8| {
        let header = [0, 0, 1, 0, 2, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0].to_vec();
        let info = attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"gretap\0"));
        read_link(&[header, info].concat()).unwrap().interface().arp
    };
    assert!(!speaks_arp(0));
    assert!(speaks_arp(1));
}

#[test]
fn of_a_point_to_point_address_ours_is_the_local_end() {
    let header = [2, 32, 0, 0, 2, 0, 0, 0].to_vec();
    let local = attribute(IFA_LOCAL, &[10, 0, 0, 1]);
    let peer = attribute(IFA_ADDRESS, &[10, 0, 0, 2]);
    let ours = attribute(IFA_PROTO, &[ADDRESS_PROTOCOL]);
    let read = read_address(&[header, local, peer, ours].concat()).unwrap().unwrap();
    assert_eq!(read.address, IpAddr::from([10, 0, 0, 1]));
    assert!(read.ours);
    assert_eq!(read.config.lifetime, None);
}

proptest! {
    /// Whatever a tunnel device says of itself, also in the attributes that matter.
    #[test]
    fn no_data_of_a_tunnel_make_a_decoder_panic(data in vec((0..21_u16, vec(any::<u8>(), 0..20)), 0..6), kind in 0..5_usize) {
        let data: Vec<u8> = data.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect();
        let kind = crate::tunnel::KINDS[kind];
        let name = attribute(IFLA_INFO_KIND, kind.as_str().as_bytes());
        let info = attribute(IFLA_LINKINFO, &[attribute(IFLA_INFO_DATA, &data), name].concat());
        let link = read_link(&[vec![0; 16], info].concat()).unwrap();
        prop_assert_eq!(link.tunnel.map(|tunnel| tunnel.kind), Some(kind));
    }

    /// Whatever comes is a value or an error, and comes to an end.
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..200), family in 0..12_u8) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = family;
        }
        drop(read_link(&bytes));
        drop(read_address(&bytes));
        drop(read_routes(&bytes, &names()));
    }

    /// Attributes of any kind and length, one after the other.
    #[test]
    fn no_attributes_make_a_decoder_panic(attributes in vec((0..20_u16, vec(any::<u8>(), 0..40)), 0..6), length in 0..130_u8) {
        let attributes: Vec<u8> = attributes.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect();
        for header in [LINK_HEADER, ADDRESS_HEADER, ROUTE_HEADER] {
            let mut bytes = vec![0; header];
            (bytes[0], bytes[1]) = (2, length);
            bytes.extend(&attributes);
            drop(read_link(&bytes));
            drop(read_address(&bytes));
            drop(read_routes(&bytes, &names()));
        }
    }
}
