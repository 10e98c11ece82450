use netlink_sys::protocols::NETLINK_ROUTE;

use super::*;

const RTM_GETLINK: u16 = 18;
const LOOPBACK: u32 = 1;
const NOBODY: u32 = 0x7fff_ffff;
const ENODEV: KernelError = KernelError::Refused {
    errno: Errno(libc::ENODEV),
};

/// A question about one link, which needs no rights: struct ifinfomsg with an index alone.
fn link(index: u32) -> Message {
    let mut payload = vec![0; 16];
    payload[4..8].copy_from_slice(&index.to_ne_bytes());
    Message {
        kind: RTM_GETLINK,
        flags: 0,
        payload,
    }
}

#[test]
fn a_refusal_is_attributed_to_its_request_also_over_several_sends() {
    let mut socket = Socket::new(NETLINK_ROUTE);
    let mut requests = vec![link(LOOPBACK); 300];
    for refused in [0, 127, 128, 200, 299] {
        requests[refused] = link(NOBODY);
    }
    let results = socket.batch(&requests);
    let refused: Vec<_> = (0..300).filter(|place| results[*place] == Err(ENODEV)).collect();
    assert_eq!(refused, [0, 127, 128, 200, 299]);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 295);
}

#[test]
fn when_the_last_acknowledgement_is_lost_the_silent_are_unknown_and_the_next_question_is_answered() {
    let mut socket = Socket::new(NETLINK_ROUTE);
    // The kernel's least: room for a few answers.
    socket.open().unwrap().set_rx_buf_sz(1 as libc::c_int).unwrap();
    let results = socket.batch(&vec![link(NOBODY); BATCH]);
    assert_eq!(results.len(), BATCH);
    assert_eq!(results.last(), Some(&Err(KernelError::Unknown)));
    let known = |result: &Result<(), KernelError>| [Err(KernelError::Unknown), Err(ENODEV)].contains(result);
    assert!(results.iter().all(known), "{results:?}");
    assert_eq!(socket.ask(&link(NOBODY)).err(), Some(ENODEV));
    assert_eq!(socket.ask(&link(LOOPBACK)).unwrap().len(), 1);
}

#[test]
fn a_dump_ends() {
    let mut socket = Socket::new(NETLINK_ROUTE);
    let links = socket.dump(&link(0)).unwrap();
    assert!(!links.is_empty());
    assert_eq!(socket.dump(&link(0)).unwrap().len(), links.len());
}
