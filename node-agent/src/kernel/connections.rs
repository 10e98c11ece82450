//! `/proc/net/ip_vs_conn`: which real servers IPVS has connections to. Not by netlink, which has no word for them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipvs::DestinationKey;

use super::KernelError;

/// Of this thread's network namespace; `/proc/net` is that of the process.
const FILE: &str = "/proc/thread-self/net/ip_vs_conn";

/// Real servers and ports with connections. There are none where there is no IPVS.
pub(super) fn connections() -> Result<BTreeSet<DestinationKey>, KernelError> {
    let failed = |error: io::Error| KernelError::File {
        path: FILE.to_owned(),
        reason: error.to_string(),
    };
    let file = match File::open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = BTreeSet::new();
    for line in BufReader::new(file).lines() {
        found.extend(real_server(&line.map_err(failed)?));
    }
    Ok(found)
}

/// `TCP C0A83814 9C40 C0A83864 0050 0A00001F 1F90 ESTABLISHED     899`: client, VIP, real server, each with its port. IPv6
/// addresses are written out, with colons. `None` for the head line.
fn real_server(line: &str) -> Option<DestinationKey> {
    let mut words = line.split_ascii_whitespace().skip(5);
    let (address, port) = (words.next()?, words.next()?);
    let address = match address.contains(':') {
        true => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?),
        false => IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?)),
    };
    Some(DestinationKey::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_server_is_read_of_each_line() {
        let cases = [
            (
                "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
                None,
            ),
            (
                "TCP C0A83814 9C40 C0A83864 0050 0A00001F 1F90 ESTABLISHED     899",
                Some("10.0.0.31:8080"),
            ),
            (
                "TCP fd56:0000:0000:0000:0000:0000:0000:0020 9C40 fd56:0000:0000:0000:0000:0000:0000:0100 0050 fd10:0000:0000:0000:0000:0000:0000:0031 1F90 FIN_WAIT         10",
                Some("[fd10::31]:8080"),
            ),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(real_server(line).map(|key| key.to_string()).as_deref(), expected);
        }
    }
}
