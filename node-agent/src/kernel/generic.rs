//! What all families of generic netlink share: the header, and the family's number.

use ::ipvs::Errno;
use netlink_packet_core::{Emitable, NlasIterator};
use netlink_packet_generic::constants::{CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::KernelError;
use super::socket::{Message, Socket};

/// Asks `nlctrl` for a family's number; `None` when there is no such family. The look-up loads the module that has it,
/// where that is allowed.
pub(super) fn family(socket: &mut Socket, name: &str) -> Result<Option<u16>, KernelError> {
    let question = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
    };
    let answer = socket.ask(&request(GENL_ID_CTRL, &question));
    if answer.as_ref().err() == Some(&KernelError::Refused { errno: Errno::ENOENT }) {
        return Ok(None);
    }
    let number = answer?.iter().find_map(|reply| family_id(&reply.payload));
    let number = number.ok_or_else(|| KernelError::Io(format!("nlctrl named no number for the family {name}")))?;
    Ok(Some(number))
}

/// A request to the family of this number.
pub(super) fn request<F: GenlFamily + Emitable>(family: u16, message: &F) -> Message {
    let header = GenlHeader {
        cmd: message.command(),
        version: message.version(),
    };
    let mut payload = vec![0; header.buffer_len() + message.buffer_len()];
    let (head, body) = payload.split_at_mut(header.buffer_len());
    header.emit(head);
    message.emit(body);
    Message {
        kind: family,
        flags: 0,
        payload,
    }
}

/// Whether the number that we hold for a family may be void (ENOENT), or another family's by now.
pub(super) fn may_be_another_family(error: &KernelError) -> bool {
    matches!(
        error,
        KernelError::Refused {
            errno: Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP
        }
    )
}

/// Attribute by attribute: the crate's own decoder refuses the whole message for one that it does not know.
fn family_id(payload: &[u8]) -> Option<u16> {
    let attributes = NlasIterator::new(payload.get(4..)?);
    let id = attributes
        .flatten()
        .find(|attribute| attribute.kind() == CTRL_ATTR_FAMILY_ID)?;
    id.value().first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}
