//! Tunnel devices over rtnetlink: made, marked as ours and set up, deleted.

use ::ipvs::Errno;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::IpProtocol;
use netlink_packet_route::link::{
    GreIOFlags, InfoData, InfoGre, InfoGre6, InfoIpTunnel, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use std::net::IpAddr;

use super::address::{Network, message};
use super::{KernelError, missing};
use crate::tunnel::{ALIAS, Tunnel, TunnelKind};

// Message types (include/uapi/linux/rtnetlink.h).
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;

const EOPNOTSUPP: Errno = Errno::EOPNOTSUPP;
const ENODEV: Errno = Errno(libc::ENODEV);

impl Network {
    /// `ip link add`, then marked and set up. One that is there as it should be already is done. The look-up of its kind
    /// loads the module that has it, where that is allowed.
    pub(super) fn add_tunnel(&mut self, name: &str, tunnel: &Tunnel) -> Result<(), KernelError> {
        let request = message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &device(name, tunnel));
        match self.socket.ask(&request) {
            Ok(_) => {}
            Err(KernelError::Refused { errno: EOPNOTSUPP }) => return Err(missing(tunnel.kind.module())),
            // Also the answer when another device, of whatever name, has both addresses.
            Err(error @ KernelError::Refused { errno: Errno::EEXIST }) => match self.link(name) {
                Ok(present) if present.tunnel.as_ref() == Some(tunnel) => {}
                Ok(_) | Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        self.set_up_tunnel(name)
    }

    /// `ip link set … up alias …`.
    pub(super) fn set_up_tunnel(&mut self, name: &str) -> Result<(), KernelError> {
        let mut request = LinkMessage::default();
        request.header.index = self.link(name)?.index;
        request.header.flags = LinkFlags::Up;
        request.header.change_mask = LinkFlags::Up;
        request.attributes.push(LinkAttribute::IfAlias(ALIAS.to_owned()));
        self.socket.ask(&message(RTM_SETLINK, 0, &request)).map(|_| ())
    }

    /// `ip link delete`. What is gone is done.
    pub(super) fn delete_tunnel(&mut self, name: &str) -> Result<(), KernelError> {
        let link = match self.link(name) {
            Ok(link) => link,
            Err(KernelError::NoInterface { interface: _ }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if link.tunnel.is_none() {
            return Err(KernelError::Io(format!(
                "{name} is no tunnel device: it is not deleted"
            )));
        }
        let mut request = LinkMessage::default();
        request.header.index = link.index;
        match self.socket.ask(&message(RTM_DELLINK, 0, &request)) {
            Ok(_) | Err(KernelError::Refused { errno: ENODEV }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn device(name: &str, tunnel: &Tunnel) -> LinkMessage {
    let Tunnel {
        kind,
        local,
        remote,
        checksum,
        plain: _,
    } = tunnel;
    let (info, data) = match kind {
        TunnelKind::Ipip => (InfoKind::IpIp, ip_tunnel(*local, *remote, IpProtocol::Ipip)),
        TunnelKind::Sit => (InfoKind::SitTun, ip_tunnel(*local, *remote, IpProtocol::Ipv6)),
        // 0 is any.
        TunnelKind::Ip6tnl => (InfoKind::Ip6Tnl, ip_tunnel(*local, *remote, IpProtocol::Hopopts)),
        TunnelKind::Gre => (InfoKind::GreTun, gre(*local, *remote, *checksum)),
        TunnelKind::Ip6gre => (InfoKind::GreTun6, gre6(*local, *remote, *checksum)),
    };
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let info = vec![LinkInfo::Kind(info), LinkInfo::Data(data)];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    message
}

fn ip_tunnel(local: Option<IpAddr>, remote: Option<IpAddr>, protocol: IpProtocol) -> InfoData {
    let mut data = vec![InfoIpTunnel::Protocol(protocol)];
    data.extend(local.map(InfoIpTunnel::Local));
    data.extend(remote.map(InfoIpTunnel::Remote));
    InfoData::IpTunnel(data)
}

fn gre(local: Option<IpAddr>, remote: Option<IpAddr>, checksum: bool) -> InfoData {
    let ipv4 = |end| match end {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let mut data = vec![InfoGre::IFlags(input_flags(checksum))];
    data.extend(local.and_then(ipv4).map(InfoGre::Local));
    data.extend(remote.and_then(ipv4).map(InfoGre::Remote));
    InfoData::GreTun(data)
}

fn gre6(local: Option<IpAddr>, remote: Option<IpAddr>, checksum: bool) -> InfoData {
    let ipv6 = |end| match end {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    };
    let mut data = vec![InfoGre6::IFlags(input_flags(checksum))];
    data.extend(local.and_then(ipv6).map(InfoGre6::Local));
    data.extend(remote.and_then(ipv6).map(InfoGre6::Remote));
    InfoData::GreTun6(data)
}

fn input_flags(checksum: bool) -> GreIOFlags {
    match checksum {
        true => GreIOFlags::Checksum,
        false => GreIOFlags::empty(),
    }
}
