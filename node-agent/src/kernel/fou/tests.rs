use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let attributes = [attribute];
    let mut bytes = vec![0; attributes.as_slice().buffer_len()];
    attributes.as_slice().emit(&mut bytes);
    bytes
}

fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
    [vec![FOU_CMD_GET, 1, 0, 0], attributes.concat()].concat()
}

/// As Linux 6.12 answers to `ip fou add port 6080 gue`.
fn gue() -> Vec<Vec<u8>> {
    vec![
        attribute(FOU_ATTR_AF, &[2]),
        attribute(FOU_ATTR_PORT, &6080_u16.to_be_bytes()),
        attribute(FOU_ATTR_PEER_PORT, &[0, 0]),
        attribute(3, &[0]),
        attribute(FOU_ATTR_TYPE, &[FOU_ENCAP_GUE]),
        attribute(FOU_ATTR_IFINDEX, &[0, 0, 0, 0]),
    ]
}

#[test]
fn a_port_is_ours_to_use_when_it_unwraps_gue_for_everybody() {
    let port = GuePort {
        family: Family::Ipv4,
        port: 6080,
    };
    assert_eq!(read(&message(&gue())), Some((port, Receiver::Gue)));
    let mut plain_fou = gue();
    plain_fou[4] = attribute(FOU_ATTR_TYPE, &[1]);
    assert_eq!(read(&message(&plain_fou)), Some((port, Receiver::Other)));
    let mut bound = gue();
    bound.push(attribute(FOU_ATTR_LOCAL_V4, &[10, 20, 0, 30]));
    assert_eq!(read(&message(&bound)), Some((port, Receiver::Other)));
    let mut on_one_interface = gue();
    on_one_interface[5] = attribute(FOU_ATTR_IFINDEX, &2_i32.to_ne_bytes());
    assert_eq!(read(&message(&on_one_interface)), Some((port, Receiver::Other)));
}

#[test]
fn what_is_no_port_is_passed_over() {
    assert_eq!(read(&[]), None);
    assert_eq!(read(&message(&[attribute(FOU_ATTR_AF, &[99]), gue().remove(1)])), None);
    assert_eq!(read(&message(&gue()[..1])), None);
}

#[test]
fn a_request_is_what_ip_fou_sends() {
    let port = GuePort {
        family: Family::Ipv6,
        port: 6080,
    };
    let request = FouMessage::of_port(FOU_CMD_ADD, port);
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    let expected = [
        attribute(FOU_ATTR_PORT, &[0x17, 0xc0]),
        attribute(FOU_ATTR_AF, &[10]),
        attribute(FOU_ATTR_TYPE, &[2]),
    ];
    assert_eq!(bytes, expected.concat());
}
