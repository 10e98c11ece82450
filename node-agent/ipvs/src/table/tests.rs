use super::*;
use crate::arbitrary::table;

use proptest::prelude::*;

proptest! {
    #[test]
    fn a_table_survives_json(x in table()) {
        let text = serde_json::to_string(&x).unwrap();
        prop_assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), x);
    }

    #[test]
    fn numbers_survive_their_names(number in any::<u16>(), byte in any::<u8>()) {
        prop_assert_eq!(Protocol::from_number(number).number(), number);
        prop_assert_eq!(TunnelType::from_number(byte).number(), byte);
        prop_assert_eq!(ForwardingMethod::from_number(number.into()).number(), u32::from(number & 7));
    }
}

#[test]
fn keys_read_back_from_their_text() {
    for text in [
        "TCP 192.168.56.100:80",
        "UDP [fd56::100]:53",
        "SCTP 10.0.0.1:0",
        "IP50 10.0.0.1:0",
        "FWM 7",
        "FWM 4294967295 IPv6",
    ] {
        assert_eq!(text.parse::<ServiceKey>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "TCP",
        "TCP 10.0.0.1",
        "FWM 0",
        "FWM -1",
        "IPx 10.0.0.1:0",
        "ICMP 10.0.0.1:0",
    ] {
        assert!(text.parse::<ServiceKey>().is_err(), "{text}");
    }
    assert_eq!(
        "[fd56::11]:80".parse::<DestinationKey>().unwrap().to_string(),
        "[fd56::11]:80"
    );
    assert!("fd56::11:80".parse::<DestinationKey>().is_err());
}

#[test]
fn a_protocol_that_has_a_name_is_read_by_it_from_its_number_too() {
    assert_eq!("IP6 10.0.0.1:80".parse(), "TCP 10.0.0.1:80".parse::<ServiceKey>());
}

#[test]
fn the_kernels_own_flag_cannot_be_held() {
    assert_eq!(ServiceFlags::from_bits(0xffff_ffff).bits(), 0xffff_fffd);
    assert_eq!(
        serde_json::from_str::<ServiceFlags>("3").unwrap(),
        ServiceFlags::PERSISTENT
    );
}

#[test]
fn a_change_that_does_not_fit_changes_nothing() {
    let text = "-A -f 7 -s rr\n-a -f 7 -r 10.0.0.2:80 -g -w 1";
    let table: Table = text.parse().unwrap();
    for (line, answer) in [
        ("-A -f 7 -s wlc", Errno::EEXIST),
        ("-E -f 8 -s wlc", Errno::ESRCH),
        ("-D -f 8", Errno::ESRCH),
        ("-a -f 7 -r 10.0.0.2:80 -m", Errno::EEXIST),
        ("-a -f 8 -r 10.0.0.2:80 -m", Errno::ESRCH),
        ("-e -f 7 -r 10.0.0.3:80 -m", Errno::ENOENT),
        ("-e -f 8 -r 10.0.0.2:80 -m", Errno::ESRCH),
        ("-d -f 7 -r 10.0.0.3:80", Errno::ENOENT),
        ("-d -f 8 -r 10.0.0.2:80", Errno::ESRCH),
    ] {
        let mut changed = table.clone();
        assert_eq!(changed.apply(&line.parse::<Change>().unwrap()), Err(answer), "{line}");
        assert_eq!(changed, table, "{line}");
    }
}

use crate::diff::Change;
use crate::errno::Errno;
