use super::*;
use crate::operation::{DestinationIdentity, DestinationSettings, ServiceIdentity, ServiceSettings, TunnelSettings};

/// A service on TCP and an IPv4 or IPv6 address, port 80.
fn service(address: &str) -> ServiceIdentity {
    let address = address.parse().unwrap();
    (&ServiceKey::address(crate::Protocol::Tcp, address, 80)).into()
}

fn settings(scheduler: &str) -> ServiceSettings {
    ServiceSettings {
        scheduler: scheduler.to_owned(),
        persistence_engine: None,
        flags: 0,
        mask: u32::MAX,
        timeout: 0,
        netmask: [255; 4],
    }
}

fn destination(socket: &str) -> DestinationIdentity {
    (&socket.parse::<DestinationKey>().unwrap()).into()
}

fn droute() -> DestinationSettings {
    DestinationSettings {
        method: 3,
        weight: Some(1),
        upper_threshold: 0,
        lower_threshold: 0,
        tunnel: None,
    }
}

/// The service 172.16.0.9:80 and one on fd00::9, and what NEW_DEST answers to this.
fn add(to: &str, key: DestinationIdentity, settings: DestinationSettings) -> Result<(), Errno> {
    kernel().execute(&Operation::NewDest {
        service: service(to),
        destination: key,
        settings,
    })
}

fn kernel() -> FakeIpvs {
    let mut kernel = FakeIpvs::new();
    let v6 = ServiceSettings {
        netmask: 128u32.to_ne_bytes(),
        ..settings("rr")
    };
    new_service(&mut kernel, service("172.16.0.9"), settings("rr")).unwrap();
    new_service(&mut kernel, service("fd00::9"), v6).unwrap();
    kernel
}

fn new_service(kernel: &mut FakeIpvs, service: ServiceIdentity, settings: ServiceSettings) -> Result<(), Errno> {
    kernel.execute(&Operation::NewService { service, settings })
}

#[test]
fn row_1_services_exist_or_not() {
    let mut kernel = kernel();
    let there = service("172.16.0.9");
    let absent = service("172.16.0.99");
    assert_eq!(new_service(&mut kernel, there, settings("rr")), Err(Errno::EEXIST));
    let set = |service, settings| Operation::SetService { service, settings };
    assert_eq!(kernel.execute(&set(absent, settings("rr"))), Err(Errno::ESRCH));
    assert_eq!(
        kernel.execute(&Operation::DelService { service: absent }),
        Err(Errno::ESRCH)
    );
    assert_eq!(new_service(&mut kernel, absent, settings("bad")), Err(Errno::ENOENT));
    let engine = ServiceSettings {
        persistence_engine: Some("bad".into()),
        ..settings("rr")
    };
    assert_eq!(new_service(&mut kernel, absent, engine), Err(Errno::ENOENT));
    let family = ServiceIdentity { family: 1, ..absent };
    assert_eq!(
        new_service(&mut kernel, family, settings("rr")),
        Err(Errno::EAFNOSUPPORT)
    );
    let family = ServiceIdentity { family: 0, ..absent };
    assert_eq!(
        new_service(&mut kernel, family, settings("rr")),
        Err(Errno::EAFNOSUPPORT)
    );
}

#[test]
fn row_2_an_ipv6_prefix_is_1_to_128_also_without_persistence() {
    for (prefix, answer) in [
        (0u32, Err(Errno::EINVAL)),
        (129, Err(Errno::EINVAL)),
        (64, Ok(())),
        (1, Ok(())),
    ] {
        let settings = ServiceSettings {
            netmask: prefix.to_ne_bytes(),
            ..settings("rr")
        };
        assert_eq!(new_service(&mut FakeIpvs::new(), service("fd00::9"), settings), answer);
    }
    // nl1: "SET v6 netmask 0".
    let settings = ServiceSettings {
        netmask: [0; 4],
        ..settings("rr")
    };
    let set = Operation::SetService {
        service: service("fd00::9"),
        settings,
    };
    assert_eq!(kernel().execute(&set), Err(Errno::EINVAL));
}

#[test]
fn row_3_destinations_exist_or_not() {
    let mut kernel = kernel();
    let (there, to) = (destination("10.0.0.2:80"), service("172.16.0.9"));
    let new = Operation::NewDest {
        service: to,
        destination: there,
        settings: droute(),
    };
    assert_eq!(kernel.execute(&new), Ok(()));
    assert_eq!(kernel.execute(&new), Err(Errno::EEXIST));
    let absent = destination("10.0.0.99:80");
    let set = Operation::SetDest {
        service: to,
        destination: absent,
        settings: droute(),
    };
    assert_eq!(kernel.execute(&set), Err(Errno::ENOENT));
    let del = Operation::DelDest {
        service: to,
        destination: absent,
    };
    assert_eq!(kernel.execute(&del), Err(Errno::ENOENT));
    assert_eq!(add("172.16.0.99", there, droute()), Err(Errno::ESRCH));
}

#[test]
fn row_3_values_have_bounds() {
    let (there, to) = (destination("10.0.0.2:80"), service("172.16.0.9"));
    let limits = |lower_threshold, upper_threshold| DestinationSettings {
        lower_threshold,
        upper_threshold,
        ..droute()
    };
    let weighing = |weight| DestinationSettings { weight, ..droute() };
    let gue = |port| {
        let tunnel = Some(TunnelSettings {
            kind: 1,
            port,
            flags: 2,
        });
        DestinationSettings {
            method: 2,
            tunnel,
            ..droute()
        }
    };
    for (settings, answer) in [
        (weighing(Some(u32::MAX)), Err(Errno::ERANGE)),
        (weighing(Some(1 << 31)), Err(Errno::ERANGE)),
        (weighing(Some((1 << 31) - 1)), Ok(())),
        (weighing(Some(65_536)), Ok(())),
        (weighing(None), Err(Errno::EINVAL)),
        (limits(5, 3), Err(Errno::ERANGE)),
        (limits(5, 0), Err(Errno::ERANGE)),
        (limits(5, 5), Ok(())),
        (limits(0, 1 << 31), Err(Errno::EINVAL)),
        (gue(0), Err(Errno::EINVAL)),
        (gue(6080), Ok(())),
    ] {
        assert_eq!(add("172.16.0.9", there, settings), answer, "{settings:?}");
    }
    let mut kernel = kernel();
    kernel.refuse_large_thresholds(false);
    let key = destination("10.0.0.3:80");
    let new = Operation::NewDest {
        service: to,
        destination: key,
        settings: limits(0, 1 << 31),
    };
    assert_eq!(kernel.execute(&new), Ok(()), "6.12");
}

#[test]
fn row_4_what_means_nothing_is_accepted_and_read_back() {
    let mut kernel = kernel();
    let to = service("172.16.0.9");
    let tunnel = |kind, port, flags| Some(TunnelSettings { kind, port, flags });
    for (socket, method, tunnel) in [
        ("10.0.0.2:8080", 3, None),
        ("10.0.0.3:0", 0, None),
        ("10.0.1.8:80", 3, tunnel(1, 6080, 0)),
        ("10.0.1.9:80", 2, tunnel(0, 0, 3)),
        ("10.0.1.7:80", 2, tunnel(3, 0, 0)),
        ("10.0.0.6:80", 4, None),
        ("10.0.0.7:80", 5, None),
        ("10.0.0.8:80", 0x103, None),
        ("127.0.0.1:80", 0, None),
        ("203.0.113.5:80", 3, None),
    ] {
        let key = destination(socket);
        let settings = DestinationSettings {
            method,
            tunnel,
            ..droute()
        };
        let new = Operation::NewDest {
            service: to,
            destination: key,
            settings,
        };
        assert_eq!(kernel.execute(&new), Ok(()), "{socket}");
    }
    let text = kernel.table().to_string();
    assert!(text.contains("-r 10.0.0.8:80 -g"), "{text}");
    assert!(text.contains("-r 10.0.0.7:80 (null)"), "{text}");
    let key = *kernel.table().services.keys().next().unwrap();
    let config = kernel.table().services[&key].destinations[&"10.0.1.8:80".parse().unwrap()];
    assert_eq!((config.tunnel.kind, config.tunnel.port), (crate::TunnelType::Gue, 6080));

    // Protocols, port 0, flags without meaning, a timeout without persistence, `none`, a VIP of nobody.
    for (protocol, port, flags, timeout, scheduler) in [
        (50, 0, 0, 0, "rr"),
        (1, 1, 0, 0, "rr"),
        (6, 0, 0, 0, "rr"),
        (6, 1, 0x18, 0, "rr"),
        (6, 2, 0, 60, "rr"),
        (6, 3, 1, 0, "rr"),
        (6, 4, 4, 0, "rr"),
        (6, 5, 0, 0, "none"),
    ] {
        let identity = ServiceIdentity {
            protocol,
            port,
            ..service("203.0.113.1")
        };
        let settings = ServiceSettings {
            flags,
            timeout,
            ..settings(scheduler)
        };
        assert_eq!(
            new_service(&mut kernel, identity, settings),
            Ok(()),
            "{protocol} {port}"
        );
    }
}

#[test]
fn row_5_address_and_port_are_the_key() {
    let mut kernel = kernel();
    for (socket, method) in [("10.0.0.2:80", 3), ("10.0.0.2:8080", 3), ("10.0.0.2:8082", 0)] {
        let new = Operation::NewDest {
            service: service("172.16.0.9"),
            destination: destination(socket),
            settings: DestinationSettings { method, ..droute() },
        };
        assert_eq!(kernel.execute(&new), Ok(()));
    }
    assert_eq!(kernel.table().services.values().next().unwrap().destinations.len(), 3);
}

#[test]
fn row_6_set_dest_replaces_whole() {
    let mut kernel = kernel();
    let (to, key) = (service("172.16.0.9"), destination("10.0.0.2:80"));
    let tunnel = Some(TunnelSettings {
        kind: 1,
        port: 6080,
        flags: 2,
    });
    let gue = DestinationSettings {
        method: 2,
        tunnel,
        ..droute()
    };
    let bare = DestinationSettings { method: 2, ..droute() };
    kernel
        .execute(&Operation::NewDest {
            service: to,
            destination: key,
            settings: droute(),
        })
        .unwrap();
    for (settings, expected) in [(gue, crate::TunnelType::Gue), (bare, crate::TunnelType::Ipip)] {
        let set = Operation::SetDest {
            service: to,
            destination: key,
            settings,
        };
        assert_eq!(kernel.execute(&set), Ok(()));
        let service = kernel.table().services.values().next().unwrap();
        assert_eq!(service.destinations.values().next().unwrap().tunnel.kind, expected);
    }
    // nl1: "SET_DEST w/o weight attr (partial)".
    let settings = DestinationSettings {
        weight: None,
        ..droute()
    };
    let set = Operation::SetDest {
        service: to,
        destination: key,
        settings,
    };
    assert_eq!(kernel.execute(&set), Err(Errno::EINVAL));
}

#[test]
fn row_7_set_service_replaces_in_place_or_not_at_all() {
    let mut kernel = kernel();
    let to = service("172.16.0.9");
    let set = |scheduler, flags, mask| Operation::SetService {
        service: to,
        settings: ServiceSettings {
            flags,
            mask,
            ..settings(scheduler)
        },
    };
    let key = destination("10.0.0.2:80");
    kernel
        .execute(&Operation::NewDest {
            service: to,
            destination: key,
            settings: droute(),
        })
        .unwrap();
    assert_eq!(kernel.execute(&set("mh", 0x18, u32::MAX)), Ok(()));
    assert_eq!(kernel.execute(&set("bad", 0, u32::MAX)), Err(Errno::ENOENT));
    let service = kernel.table().services.values().next().unwrap().clone();
    assert_eq!(
        (service.config.scheduler.as_str(), service.config.flags.bits()),
        ("mh", 0x18)
    );
    assert_eq!(service.destinations.len(), 1);
    // Only the bits of the mask change.
    assert_eq!(kernel.execute(&set("mh", 0, 0x8)), Ok(()));
    assert_eq!(
        kernel.table().services.values().next().unwrap().config.flags.bits(),
        0x10
    );
}

#[test]
fn row_8_another_family_only_by_tunnel_and_without_a_daemon() {
    let tunnel = DestinationSettings { method: 2, ..droute() };
    let (v4, v6) = (destination("10.0.0.2:80"), destination("[fd00::2]:80"));
    assert_eq!(add("172.16.0.9", v6, tunnel), Ok(()));
    assert_eq!(add("172.16.0.9", v6, droute()), Err(Errno::EINVAL));
    assert_eq!(add("fd00::9", v4, tunnel), Ok(()));
    assert_eq!(add("fd00::9", v4, droute()), Err(Errno::EINVAL));

    let mut kernel = kernel();
    kernel.set_sync_daemon(true);
    let new = Operation::NewDest {
        service: service("fd00::9"),
        destination: v4,
        settings: tunnel,
    };
    assert_eq!(kernel.execute(&new), Err(Errno::EINVAL));
    kernel.set_sync_daemon(false);
    assert_eq!(kernel.execute(&new), Ok(()));
    let nameless = DestinationIdentity { family: None, ..v4 };
    let del = |destination| Operation::DelDest {
        service: service("fd00::9"),
        destination,
    };
    assert_eq!(kernel.execute(&del(nameless)), Err(Errno::ENOENT));
    assert_eq!(kernel.execute(&del(v4)), Ok(()));
}

#[test]
fn finding_32_mark_0_is_the_null_address() {
    let mut kernel = FakeIpvs::new();
    let marked = ServiceIdentity {
        mark: Some(0),
        ..service("172.16.0.9")
    };
    new_service(&mut kernel, marked, settings("rr")).unwrap();
    assert_eq!(kernel.table().to_string(), "-A -t 0.0.0.0:0 -s rr\n");
}

#[test]
fn finding_33_only_addresses_that_are_not_unicast_are_refused() {
    let refused = ["10.255.255.255", "255.255.255.255", "224.0.0.1", "0.0.0.0"];
    let refused_v6 = ["ff02::1", "fe80::1", "::", "::ffff:10.0.0.2"];
    let mut kernel = kernel();
    kernel.set_broadcast_addresses([refused[0].parse().unwrap()]);
    let mut answer = |to: &str, socket: &str| {
        kernel.execute(&Operation::NewDest {
            service: service(to),
            destination: destination(socket),
            settings: droute(),
        })
    };
    for address in refused {
        let socket = format!("{address}:80");
        assert_eq!(answer("172.16.0.9", &socket), Err(Errno::EINVAL), "{address}");
    }
    for address in refused_v6 {
        let socket = format!("[{address}]:80");
        assert_eq!(answer("fd00::9", &socket), Err(Errno::EINVAL), "{address}");
    }
    for socket in ["198.51.100.2:80", "127.0.0.1:80", "172.16.0.9:80", "10.0.0.0:80"] {
        assert_eq!(answer("172.16.0.9", socket), Ok(()), "{socket}");
    }
    for socket in ["[2001:db8::1]:80", "[::1]:80"] {
        assert_eq!(answer("fd00::9", socket), Ok(()), "{socket}");
    }
    kernel.set_no_addresses(true);
    let (service, key) = (service("172.16.0.9"), destination("10.0.0.77:80"));
    let new = Operation::NewDest {
        service,
        destination: key,
        settings: droute(),
    };
    assert_eq!(kernel.execute(&new), Err(Errno::EINVAL));
}

#[test]
fn a_deleted_service_cascades_and_a_dump_of_nothing_is_empty() {
    let mut kernel = kernel();
    let to = service("172.16.0.9");
    let key = *kernel.table().services.keys().next().unwrap();
    let new = Operation::NewDest {
        service: to,
        destination: destination("10.0.0.2:80"),
        settings: droute(),
    };
    kernel.execute(&new).unwrap();
    assert_eq!(kernel.dump_destinations(&key).unwrap().len(), 1);
    kernel.execute(&Operation::DelService { service: to }).unwrap();
    assert_eq!(kernel.get_service(&key), Err(Errno::ESRCH));
    assert_eq!(kernel.dump_destinations(&key), Ok(Vec::new()));
    assert_eq!(kernel.dump_services().unwrap().len(), 1);
}

#[test]
fn a_missing_module_or_scheduler_and_a_refused_key_answer_as_told() {
    let mut kernel = kernel();
    kernel.set_module_missing(true);
    assert_eq!(kernel.dump_services(), Err(Errno::ENOENT));
    let del = Operation::DelService {
        service: service("172.16.0.9"),
    };
    assert_eq!(kernel.execute(&del), Err(Errno::ENOENT));
    kernel.set_module_missing(false);

    kernel.set_schedulers(["rr"]);
    let other = service("172.16.0.10");
    assert_eq!(new_service(&mut kernel, other, settings("wlc")), Err(Errno::ENOENT));
    assert_eq!(new_service(&mut kernel, other, settings("none")), Ok(()));

    let key = "TCP 172.16.0.9:80".parse().unwrap();
    kernel.refuse(key, None, Errno::ENOMEM);
    assert_eq!(kernel.execute(&del), Err(Errno::ENOMEM));
    kernel.refuse_nothing();
    assert_eq!(kernel.execute(&del), Ok(()));

    assert_eq!(kernel.executed()[&Verb::DelService], 3);
    assert_eq!(kernel.operations(), 7);
}

#[test]
fn a_new_service_with_the_kernels_own_flag_is_never_found() {
    let mut kernel = FakeIpvs::new();
    let settings = ServiceSettings {
        flags: 2,
        ..settings("rr")
    };
    assert_eq!(new_service(&mut kernel, service("172.16.0.9"), settings), Ok(()));
    assert_eq!(kernel.table(), &Table::default());
}

#[test]
fn a_name_of_sixteen_bytes_is_invalid_whether_or_not_the_service_is_there() {
    let mut kernel = kernel();
    let long = settings("sixteen-bytes-xx");
    assert_eq!(
        new_service(&mut kernel, service("172.16.0.9"), long),
        Err(Errno::EINVAL)
    );
    let fifteen = settings("fifteen-bytes-x");
    assert_eq!(
        new_service(&mut kernel, service("172.16.0.10"), fifteen),
        Err(Errno::ENOENT)
    );
}
