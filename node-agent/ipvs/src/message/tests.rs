use super::*;
use crate::arbitrary::table;
use crate::diff::diff;
use crate::operation::random_operations;
use crate::table::{Family, Table};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_generic::GenlMessage;
use proptest::prelude::*;

mod captured;

fn bytes(message: &IpvsMessage) -> Vec<u8> {
    let mut buffer = vec![0xee; message.buffer_len()];
    message.emit(&mut buffer);
    buffer
}

fn parse(command: u8, payload: &[u8]) -> Result<IpvsMessage, DecodeError> {
    IpvsMessage::parse_with_param(
        payload,
        GenlHeader {
            cmd: command,
            version: 1,
        },
    )
}

fn change(line: &str) -> Change {
    line.parse().unwrap()
}

/// An attribute as it lies in memory on this machine.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_new_service_has_every_attribute_in_its_byte_order() {
    let line = "ipvsadm -A -t 192.168.56.100:4660 -s sh -p 300 -M 255.255.255.0 -b sh-port";
    let expected = attribute(
        0x8001,
        &[
            attribute(1, &2u16.to_ne_bytes()),
            attribute(2, &6u16.to_ne_bytes()),
            attribute(3, &[192, 168, 56, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            attribute(4, &[0x12, 0x34]),
            attribute(6, b"sh\0"),
            attribute(7, &[0x11u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat()),
            attribute(8, &300u32.to_ne_bytes()),
            attribute(9, &[255, 255, 255, 0]),
        ]
        .concat(),
    );
    assert_eq!(bytes(&(&change(line)).into()), expected);
}

#[test]
fn an_ipv6_mark_service_sends_the_mark_and_128_in_host_order() {
    let expected = attribute(
        0x8001,
        &[
            attribute(1, &10u16.to_ne_bytes()),
            attribute(5, &7u32.to_ne_bytes()),
            attribute(6, b"wlc\0"),
            attribute(11, b"sip\0"),
            attribute(7, &[0u32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat()),
            attribute(8, &0u32.to_ne_bytes()),
            attribute(9, &128u32.to_ne_bytes()),
        ]
        .concat(),
    );
    assert_eq!(bytes(&(&change("-A -f 7 -6 -s wlc --pe sip")).into()), expected);
}

#[test]
fn a_new_destination_identifies_its_service_and_says_everything_of_itself() {
    let line = "-a -f 7 -r [fd56::11]:4660 -i -w 256 --tun-type gue --tun-port 6080 --tun-csum -x 9 -y 5";
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0xfd, 0x56]);
    address[15] = 0x11;
    let service = [attribute(1, &2u16.to_ne_bytes()), attribute(5, &7u32.to_ne_bytes())].concat();
    let destination = [
        attribute(11, &10u16.to_ne_bytes()),
        attribute(1, &address),
        attribute(2, &[0x12, 0x34]),
        attribute(3, &2u32.to_ne_bytes()),
        attribute(4, &256u32.to_ne_bytes()),
        attribute(13, &[1]),
        attribute(14, &6080u16.to_be_bytes()),
        attribute(15, &1u16.to_ne_bytes()),
        attribute(5, &9u32.to_ne_bytes()),
        attribute(6, &5u32.to_ne_bytes()),
    ]
    .concat();
    let expected = [attribute(0x8001, &service), attribute(0x8002, &destination)].concat();
    assert_eq!(bytes(&(&change(line)).into()), expected);
}

#[test]
fn a_deletion_identifies_and_a_dump_asks() {
    let identity = [attribute(1, &2u16.to_ne_bytes()), attribute(5, &7u32.to_ne_bytes())].concat();
    let service = attribute(0x8001, &identity);
    let key = change("-D -f 7").service();
    assert_eq!(bytes(&(&change("-D -f 7")).into()), service);
    assert_eq!(bytes(&IpvsMessage::get_service(&key)), service);
    assert_eq!(bytes(&IpvsMessage::dump_destinations(&key)), service);
    assert_eq!(bytes(&IpvsMessage::dump_services()), [0; 0]);
    assert_eq!(bytes(&IpvsMessage::get_info()), [0; 0]);
    assert_eq!(IpvsMessage::dump_services().command(), 4);
    assert_eq!(IpvsMessage::dump_destinations(&key).command(), 8);
    assert_eq!(IpvsMessage::get_info().command(), 15);
}

#[test]
fn a_message_travels_in_netlink_and_generic_netlink_headers() {
    let mut generic = GenlMessage::from_payload(IpvsMessage::from(&change("-A -f 7 -s rr")));
    generic.set_resolved_family_id(0x22);
    let mut message = NetlinkMessage::from(generic);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    assert_eq!(buffer[4..6], 0x22u16.to_ne_bytes());
    assert_eq!(buffer[16..20], [1, 1, 0, 0]);
    let read = NetlinkMessage::<GenlMessage<IpvsMessage>>::deserialize(&buffer).unwrap();
    assert_eq!(read, message);
}

#[test]
fn a_reply_is_a_service_with_its_counters_and_without_the_kernels_flag() {
    let count = |kind, value: u64| attribute(kind, &value.to_ne_bytes());
    let counters = [1, 2, 3, 4, 5, 6]
        .map(|kind| count(kind, 10 + u64::from(kind)))
        .concat();
    let payload = attribute(
        1,
        &[
            attribute(1, &2u16.to_ne_bytes()),
            attribute(5, &7u32.to_ne_bytes()),
            attribute(6, b"mh\0"),
            attribute(7, &[0x1bu32.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat()),
            attribute(8, &60u32.to_ne_bytes()),
            attribute(9, &[255, 255, 255, 255]),
            attribute(10, b"the 32-bit counters"),
            attribute(12, &counters),
            attribute(77, b"of a later kernel"),
        ]
        .concat(),
    );
    let reply = parse(IPVS_CMD_NEW_SERVICE, &payload).unwrap().service().unwrap();
    let expected = change("-A -f 7 -s mh -p 60 -b mh-fallback,mh-port");
    assert_eq!(
        Change::AddService {
            service: reply.key,
            config: reply.config
        },
        expected
    );
    assert_eq!(
        reply.counters,
        Counters {
            connections: 11,
            in_packets: 12,
            out_packets: 13,
            in_bytes: 14,
            out_bytes: 15
        }
    );
}

#[test]
fn a_destination_without_a_family_has_its_services() {
    let message = IpvsMessage::from(&change("-a -f 7 -r 10.0.0.2:80 -m"));
    let mut attributes = message.attributes;
    let Attribute::Destination(destination) = &mut attributes[1] else {
        panic!("{attributes:?}")
    };
    destination.retain(|attribute| !matches!(attribute, DestinationAttribute::Family(_)));
    let nameless = IpvsMessage {
        command: Command::NewDest,
        attributes,
    };
    let address = |family| nameless.destination(family).unwrap().key.to_string();
    assert_eq!(address(Family::Ipv4), "10.0.0.2:80");
    assert_eq!(address(Family::Ipv6), "[a00:2::]:80");
}

#[test]
fn a_reply_that_does_not_say_what_it_must_is_an_error_with_the_attributes_name() {
    let full = IpvsMessage::from(&change("-A -t 10.0.0.1:80"));
    let Attribute::Service(attributes) = &full.attributes[0] else {
        panic!("{full:?}")
    };
    for missing in 0..attributes.len() {
        let mut attributes = attributes.clone();
        attributes.remove(missing);
        let message = IpvsMessage::of_service(Command::NewService, attributes);
        assert!(matches!(message.service(), Err(ReplyError::Missing(_))), "{message:?}");
    }
    let asked = IpvsMessage::dump_services();
    assert_eq!(asked.service(), Err(ReplyError::Unexpected(Command::GetService)));
    assert_eq!(
        asked.destination(Family::Ipv4),
        Err(ReplyError::Unexpected(Command::GetService))
    );
    let family = IpvsMessage::of_service(Command::NewService, vec![ServiceAttribute::Family(1)]);
    assert_eq!(family.service(), Err(ReplyError::Family(1)));
}

#[test]
fn the_reply_to_get_info_has_numbers_of_its_own() {
    let payload = [
        attribute(1, &0x01_02_01u32.to_ne_bytes()),
        attribute(2, &4096u32.to_ne_bytes()),
    ]
    .concat();
    let expected = vec![Attribute::Version(0x01_02_01), Attribute::ConnectionTableSize(4096)];
    assert_eq!(parse(IPVS_CMD_SET_INFO, &payload).unwrap().attributes, expected);
    let timeouts = [4, 5, 6].map(|kind| attribute(kind, &900u32.to_ne_bytes())).concat();
    assert_eq!(
        parse(IPVS_CMD_SET_CONFIG, &timeouts).unwrap().attributes,
        [
            Attribute::TimeoutTcp(900),
            Attribute::TimeoutTcpFin(900),
            Attribute::TimeoutUdp(900)
        ]
    );
}

#[test]
fn unknown_and_misshapen_attributes_survive_as_they_are() {
    let payload = [
        attribute(99, b"unknown"),
        attribute(0x8063, b"with a flag"),
        attribute(4, b"no u32"),
        attribute(1, b"no list"),
        attribute(
            0x8001,
            &[attribute(6, b"no end"), attribute(6, b"in\0side\0"), attribute(1, b"x")].concat(),
        ),
    ]
    .concat();
    let message = parse(IPVS_CMD_NEW_SERVICE, &payload).unwrap();
    assert_eq!(bytes(&message), payload);
    let other = |kind, value: &[u8]| Attribute::Other(DefaultNla::new(kind, value.to_vec()));
    assert_eq!(message.attributes[1], other(0x8063, b"with a flag"));
    assert_eq!(message.attributes[3], other(1, b"no list"));
    let Attribute::Service(attributes) = &message.attributes[4] else {
        panic!("{message:?}")
    };
    let all_other = attributes
        .iter()
        .all(|inner| matches!(inner, ServiceAttribute::Other(_)));
    assert!(all_other, "{attributes:?}");
    assert!(parse(IPVS_CMD_NEW_SERVICE, &payload[..payload.len() - 1]).is_err());
    let command = parse(200, &[]).unwrap();
    assert_eq!((command.command, command.command()), (Command::Other(200), 200));
}

#[test]
fn every_command_keeps_its_number() {
    for number in 0..=u8::MAX {
        assert_eq!(u8::from(Command::from(number)), number);
    }
}

#[test]
fn a_name_of_any_length_can_be_sent() {
    let mut change = change("-A -f 7 -s rr");
    if let Change::AddService { service: _, config } = &mut change {
        config.scheduler = crate::Scheduler::new("ö".repeat(100_000));
    }
    assert!(bytes(&(&change).into()).len() < 400);
}

#[test]
fn random_operations_read_back_from_their_bytes() {
    for seed in 0..200 {
        for operation in random_operations(seed, 20) {
            let message = IpvsMessage::from(&operation);
            let read = parse(message.command(), &bytes(&message)).unwrap();
            assert_eq!(read, message, "{operation:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_sent_reads_back_as_the_same_entry(x in table()) {
        // A reply to GET has the command and the attributes of NEW.
        for change in diff(&x, &Table::default()) {
            let message = IpvsMessage::from(&change);
            let read = parse(message.command(), &bytes(&message)).unwrap();
            let entry = match change.destination() {
                None => {
                    let reply = read.service().unwrap();
                    Change::AddService { service: reply.key, config: reply.config }
                }
                Some(_) => {
                    let service = change.service();
                    let reply = read.destination(service.family()).unwrap();
                    let (destination, config) = (reply.key, reply.config);
                    Change::AddDestination { service, destination, config }
                }
            };
            prop_assert_eq!(entry, change);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(command in any::<u8>(), payload in any::<Vec<u8>>()) {
        survives(command, &payload);
    }

    #[test]
    fn any_attributes_survive_the_decoder(command in 0u8..18, payload in attributes(3)) {
        let message = survives(command, &payload).unwrap();
        prop_assert_eq!(survives(command, &bytes(&message)).unwrap(), message);
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_the_decoder_panic(
        seed in any::<u64>(), cut in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        for operation in random_operations(seed, 4) {
            let message = IpvsMessage::from(&operation);
            let mut payload = bytes(&message);
            let place = place.index(payload.len());
            payload[place] = byte;
            survives(message.command(), &payload);
            payload.truncate(cut.index(payload.len()));
            survives(message.command(), &payload);
        }
    }
}

/// Well-framed attributes of small kinds and random lengths, nested at random.
fn attributes(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let leaf = prop::collection::vec(any::<u8>(), 0..20).boxed();
    let value = if depth == 0 {
        leaf
    } else {
        prop_oneof![leaf, attributes(depth - 1)].boxed()
    };
    let kind = prop_oneof![0u16..18, 0x8000u16..0x8012];
    prop::collection::vec((kind, value), 0..6)
        .prop_map(|list| list.iter().flat_map(|(kind, value)| attribute(*kind, value)).collect())
        .boxed()
}

/// Decoding gives a message or an error, reading it an entry or an error, and a message can be sent again.
fn survives(command: u8, payload: &[u8]) -> Option<IpvsMessage> {
    let message = parse(command, payload).ok()?;
    let _ = message.service();
    let _ = message.destination(Family::Ipv4);
    parse(command, &bytes(&message)).unwrap();
    Some(message)
}
