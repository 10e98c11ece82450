//! The messages themselves, prepared: what nobody who speaks netlink can be faster than.

use anyhow::{Context, Result, bail, ensure};
use ipvs::{IpvsMessage, Table, diff};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

use crate::scenery::Scenery;
use crate::{clock, say};

/// Messages in one send.
const BATCH: usize = 128;

pub(crate) fn run(scenery: &Scenery) -> Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    let family = family(&socket)?;
    let changes = diff(&scenery.table(), &Table::default());
    let messages: Vec<_> = changes.iter().map(IpvsMessage::from).collect();
    let datagrams: Vec<_> = messages.chunks(BATCH).map(|chunk| datagram(family, chunk)).collect();
    let begin = clock();
    for datagram in &datagrams {
        socket.send_to(datagram, &SocketAddr::new(0, 0), 0)?;
        acknowledged(&socket)?;
    }
    say("floor", "programming", begin.elapsed(), messages.len());
    Ok(())
}

/// The last one asks for an ACK; one that the kernel refuses answers by itself, and is none here.
fn datagram(family: u16, messages: &[IpvsMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let mut request = NetlinkMessage::from(GenlMessage::from_payload(message.clone()));
        if let NetlinkPayload::InnerMessage(inner) = &mut request.payload {
            inner.set_resolved_family_id(family);
        }
        request.header.flags = NLM_F_REQUEST;
        if index + 1 == messages.len() {
            request.header.flags |= NLM_F_ACK;
        }
        request.finalize();
        // GenlMessage does not know its family's number until it is resolved, and NetlinkMessage takes it from there.
        let mut buffer = vec![0; request.buffer_len()];
        request.serialize(&mut buffer);
        bytes.extend(buffer);
    }
    bytes
}

fn acknowledged(socket: &Socket) -> Result<()> {
    let (answer, _) = socket.recv_from_full()?;
    let errno = answer
        .get(16..20)
        .and_then(|bytes| bytes.first_chunk())
        .map(|bytes| i32::from_ne_bytes(*bytes));
    ensure!(errno == Some(0), "refused: {errno:?}");
    Ok(())
}

fn family(socket: &Socket) -> Result<u16> {
    let question = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("IPVS".to_owned())],
    };
    let mut request = NetlinkMessage::from(GenlMessage::from_payload(question));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    socket.send_to(&buffer, &SocketAddr::new(0, 0), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    // After the netlink and the generic header: the attribute CTRL_ATTR_FAMILY_ID, 1.
    let mut rest = answer.get(20..).context("no answer of nlctrl")?;
    while let [l0, l1, k0, k1, value @ ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        if u16::from_ne_bytes([*k0, *k1]) == 1 {
            return value
                .first_chunk()
                .map(|bytes| u16::from_ne_bytes(*bytes))
                .context("no number");
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    bail!("the kernel has no IPVS")
}
