//! How many services there are: 0.1 ms, whatever their number, so that a flush is noticed twice a second.

use std::io;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::kernel::KernelError;

/// `IP_VS_BASE_CTL` + 1 (include/uapi/linux/ip_vs.h).
const IP_VS_SO_GET_INFO: libc::c_int = 64 + 1024 + 64 + 1;

/// `struct ip_vs_getinfo`.
#[repr(C)]
#[derive(Default)]
struct Info {
    version: libc::c_uint,
    connection_table_size: libc::c_uint,
    services: libc::c_uint,
}

/// The kernel's count of IPv4 services, mark services included. IPv6 services are not in it.
pub(in crate::kernel) fn service_count() -> Result<usize, KernelError> {
    let info = info().map_err(|error| match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => KernelError::ModuleMissing,
        _ => KernelError::Io(format!("IP_VS_SO_GET_INFO: {error}")),
    })?;
    usize::try_from(info.services).map_err(|error| KernelError::Io(error.to_string()))
}

fn info() -> io::Result<Info> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let mut info = Info::default();
    let mut length: libc::socklen_t = libc::socklen_t::try_from(size_of::<Info>()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no crate knows this socket option")]
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`, which is plain integers and outlives the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            IP_VS_SO_GET_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}
