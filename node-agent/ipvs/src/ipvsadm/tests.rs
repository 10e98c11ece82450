use super::*;
use crate::arbitrary::table;
use crate::diff::diff;

use expect_test::{Expect, expect};
use proptest::prelude::*;

/// Reads and prints again, byte for byte.
fn survives(text: &str) {
    assert_eq!(text.parse::<Table>().unwrap().to_string(), text);
}

#[test]
fn a_saved_table_is_read_and_printed_byte_for_byte() {
    // Lines that ipvsadm 1.31 printed on 6.12 and 7.2, in its order.
    survives(
        "\
-A -f -1 -s rr
-A -t 172.16.0.9:80 -s rr
-A -t 172.16.0.10:0 -s rr
-A -t 172.16.0.12:80 -s none
-A -t 172.16.0.16:80 -s rr -p 0
-A -t 172.16.0.17:80 -s rr -p 2678401
-A -t 172.16.0.18:80 -s rr -o
-A -t 172.16.0.19:80 -s rr -b flag-1,flag-2
-A -t 172.16.0.20:80 -s rr -p 5 -M 255.255.0.255
-A -t 203.0.113.1:80 -s rr
-A -t 0.0.0.0:0 -s rr
-A -u 172.16.0.18:53 -s rr -p 60 -o
-A -t [fd00::9]:80 -s rr -p 10 -M 64
-A -f 7 -s rr
-A -f 7 -6 -s rr
",
    );
    survives(
        "\
-A -t 172.16.0.9:80 -s mh -b mh-fallback,mh-port
-a -t 172.16.0.9:80 -r 172.16.0.9:80 -g -w 1
-a -t 172.16.0.9:80 -r 203.0.113.5:80 -g -w 1
-a -t 172.16.0.9:80 -r [fd00::2]:80 -i -w 1 --tun-type ipip
-a -t 172.16.0.9:80 -r 10.0.0.2:80 -g -w 1
-a -t 172.16.0.9:80 -r 10.0.0.2:8082 -m -w 1
-a -t 172.16.0.9:80 -r 10.0.0.3:0 -m -w 1
-a -t 172.16.0.9:80 -r 10.0.1.2:80 -g -w 2147483647
-a -t 172.16.0.9:80 -r 10.0.1.5:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 172.16.0.9:80 -r 10.0.1.6:80 -i -w 1 --tun-type gre --tun-csum
",
    );
}

#[test]
fn what_ipvsadm_cannot_read_back_is_still_printed_as_it_prints_it() {
    let mut table: Table = "-A -t 172.16.0.9:80 -s sh".parse().unwrap();
    let (key, mut service) = table.services.pop_first().unwrap();
    service.config.flags = ServiceFlags::SCHEDULER_3;
    let mut odd = |socket: &str, method, kind| {
        let mut config = DestinationConfig::new(method, 1);
        config.tunnel.kind = kind;
        service.destinations.insert(socket.parse().unwrap(), config);
    };
    odd("10.0.0.5:80", ForwardingMethod::Local, TunnelType::Ipip);
    odd("10.0.0.6:80", ForwardingMethod::Bypass, TunnelType::Ipip);
    odd("10.0.1.7:80", ForwardingMethod::Tunnel, TunnelType::Other(3));
    let protocol_1 = ServiceKey::address(Protocol::Other(1), "172.16.0.9".parse().unwrap(), 1);
    let icmp = crate::Service::new(ServiceConfig::new("rr", Family::Ipv4));
    table.services = [(key, service), (protocol_1, icmp)].into();
    let expected = "\
-A --xxx-service 172.16.0.9:1 -s rr
-A -t 172.16.0.9:80 -s sh -b 
-a -t 172.16.0.9:80 -r 10.0.0.5:80 -g -w 1
-a -t 172.16.0.9:80 -r 10.0.0.6:80 (null) -w 1
-a -t 172.16.0.9:80 -r 10.0.1.7:80 -i -w 1
";
    assert_eq!(table.to_string(), expected);
}

#[test]
fn addresses_more_than_half_the_circle_apart_print_the_wrong_way_round() {
    survives("-A -t 192.168.0.1:80 -s rr\n-A -t 10.0.0.1:80 -s rr\n");
}

#[test]
fn an_order_that_contradicts_itself_still_prints_every_line_once() {
    // 10 before 127 before 203 before 10.
    let text = "-A -t 10.0.0.1:1 -s rr\n-A -t 127.0.0.1:1 -s rr\n-A -t 203.0.0.1:1 -s rr\n";
    let table: Table = text.parse().unwrap();
    let mut lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
}

#[test]
fn addresses_print_as_the_c_library_prints_them() {
    let text = |address: &str| AddressText(address.parse().unwrap()).to_string();
    assert_eq!(text("::1"), "[::1]");
    assert_eq!(text("::"), "[::]");
    assert_eq!(text("::1:2"), "[::0.1.0.2]");
    assert_eq!(text("::ffff:1.2.3.4"), "[::ffff:1.2.3.4]");
    assert_eq!(text("2001:db8:0:1:0:0:0:1"), "[2001:db8:0:1::1]");
}

fn check(line: &str, expected: &Expect) {
    let change: Change = line.parse().unwrap();
    expected.assert_eq(&change.to_string());
    assert_eq!(change.to_string().parse::<Change>().unwrap(), change);
}

#[test]
fn a_change_prints_as_the_command_that_makes_it() {
    check(
        "-A -t 192.168.56.100:80",
        &expect!["ipvsadm -A -t 192.168.56.100:80 -s wlc"],
    );
    check(
        "-E -u [fd56::100]:53 -s sh -p 300 -M 64 -o -b sh-fallback --pe sip",
        &expect!["ipvsadm -E -u [fd56::100]:53 -s sh -p 300 -M 64 --pe sip -o -b sh-fallback"],
    );
    check(
        "-D --sctp-service 10.0.0.1:0",
        &expect!["ipvsadm -D --sctp-service 10.0.0.1:0"],
    );
    check(
        "-a -t 192.168.56.100:80 -r 192.168.56.11:80",
        &expect!["ipvsadm -a -t 192.168.56.100:80 -r 192.168.56.11:80 -g -w 1"],
    );
    check(
        "-e -f 4294967295 -6 -r [fd56::11]:80 -m -w 0 -x 100 -y 50",
        &expect!["ipvsadm -e -f -1 -6 -r [fd56::11]:80 -m -w 0 -x 100 -y 50"],
    );
    check(
        "-a -f 7 -r 10.0.0.1:0 -i --tun-type gue --tun-port 6080 --tun-csum -x 9",
        &expect!["ipvsadm -a -f 7 -r 10.0.0.1:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum -x 9"],
    );
    check(
        "-d -t 192.168.56.100:80 -r 192.168.56.11:80",
        &expect!["ipvsadm -d -t 192.168.56.100:80 -r 192.168.56.11:80"],
    );
}

#[test]
fn lines_that_are_no_commands_are_named() {
    for line in [
        "",
        "-A",
        "-A -t 10.0.0.1",
        "-A -t 10.0.0.1:80 -f 7",
        "-A -f 0",
        "-A --xxx-service 10.0.0.1:1 -s rr",
        "-a -f 7 -r 10.0.0.1:80 (null) -w 1",
        "-a -f 7",
        "-a -f 7 -r 10.0.0.1:80 -w x",
        "-A -f 7 -p",
        "-A -f 7 -b what",
        "-C",
    ] {
        let error = line.parse::<Change>().unwrap_err();
        assert_eq!(error.line, line);
    }
    assert!("-a -f 7 -r 10.0.0.1:80".parse::<Table>().is_err());
    assert!("# text\n\n-A -f 7".parse::<Table>().is_ok());
}

proptest! {
    #[test]
    fn every_change_reads_back_from_its_line(d in table(), o in table()) {
        for change in diff(&saved(&d), &saved(&o)) {
            prop_assert_eq!(change.to_string().parse::<Change>().unwrap(), change);
        }
    }

    #[test]
    fn every_table_reads_back_but_for_what_is_never_saved(x in table()) {
        let mut expected = saved(&x);
        for service in expected.services.values_mut() {
            for config in service.destinations.values_mut() {
                config.upper_threshold = 0;
                config.lower_threshold = 0;
            }
        }
        prop_assert_eq!(x.to_string().parse::<Table>().unwrap(), expected);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,80}", words in "(-[AEDaedtufspMbrwxy6] ?[0-9.:]{0,9} ?){0,6}") {
        let _ = text.parse::<Table>();
        let _ = words.parse::<Change>();
    }
}

/// Without what has no word in ipvsadm.
fn saved(table: &Table) -> Table {
    let mut table = table.clone();
    for service in table.services.values_mut() {
        let config = &mut service.config;
        if ["sh", "mh"].contains(&config.scheduler.as_str()) {
            config.flags = ServiceFlags::from_bits(config.flags.bits() & 0x1f);
        }
        if !config.flags.contains(ServiceFlags::PERSISTENT) {
            config.timeout_seconds = 0;
            config.netmask = match config.netmask {
                Netmask::Mask(_) => Netmask::full(Family::Ipv4),
                Netmask::PrefixLength(_) => Netmask::full(Family::Ipv6),
            };
        }
        for config in service.destinations.values_mut() {
            if config.method != ForwardingMethod::Tunnel {
                config.tunnel = crate::Tunnel::default();
            }
        }
    }
    table
}
