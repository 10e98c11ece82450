use crate::world::{GROUP, RS1, WEB, World};
use crate::write::{EventKind, StatusWrite, Write};
use expect_test::expect;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

mod leaving;

fn yaml(value: &impl serde::Serialize) -> String {
    serde_yaml::to_string(value).unwrap()
}

#[test]
fn a_serving_service_says_so() {
    let world = World::serving();
    expect![[r#"
        observedGeneration: 1
        addresses:
        - address: 192.168.56.100
          nodeName: dir1
        directors:
        - nodeName: dir1
          role: Active
        realServers:
          matched: 2
          prepared: 2
          healthy: 2
        summary:
          addresses: 192.168.56.100
          ports: 80/TCP
          realServers: 2/2
          directors: dir1
        conditions:
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: the spec is valid and its claims are held
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Accepted
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: read back on dir1
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Programmed
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: 2 real servers serve
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Ready
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: DirectorGroup default exists
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: ResolvedRefs
    "#]]
    .assert_eq(&yaml(&world.service("web").status));
}

#[test]
fn its_real_server_says_so() {
    let world = World::serving();
    expect![[r#"
        observedGeneration: 1
        virtualServices:
        - name: web
          conditions:
          - lastTransitionTime: 2026-11-22T12:00:06Z
            message: it is in this service
            observedGeneration: 1
            reason: Ok
            status: 'True'
            type: Accepted
          - lastTransitionTime: 2026-11-22T12:00:06Z
            message: every health check passes
            observedGeneration: 1
            reason: Ok
            status: 'True'
            type: Healthy
          - lastTransitionTime: 2026-11-22T12:00:06Z
            message: rs1 read back the VIPs, silent in ARP
            observedGeneration: 1
            reason: Ok
            status: 'True'
            type: Prepared
        summary:
          addresses: 192.168.56.30
          virtualServices: web
        conditions:
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: the spec is valid
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Accepted
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: every health check passes
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Healthy
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: rs1 read back every VIP
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Prepared
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: it may take traffic
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Ready
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: everything that it names exists
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: ResolvedRefs
    "#]]
    .assert_eq(&yaml(&world.real_server("rs1").status));
}

#[test]
fn its_group_says_so() {
    let world = World::serving();
    expect![[r#"
        observedGeneration: 1
        members:
        - nodeName: dir1
          role: Active
          since: 2026-11-22T12:00:06Z
        virtualServices: 1
        summary: dir1
        conditions:
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: dir1 is the director
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Accepted
        - lastTransitionTime: 2026-11-22T12:00:06Z
          message: dir1 is the director
          observedGeneration: 1
          reason: Ok
          status: 'True'
          type: Ready
    "#]]
    .assert_eq(&yaml(&world.objects.director_groups[0].status));
}

fn all(world: &World, name: &str) -> String {
    let types = ["Accepted", "ResolvedRefs", "Programmed", "Ready", "Stalled"];
    types
        .map(|type_| format!("{type_} {}\n", world.said(name, type_)))
        .concat()
}

#[test]
fn a_new_service_is_pending() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    expect![[r#"
        Accepted True Ok: the spec is valid and its claims are held
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed False Pending: it is being placed
        Ready False Pending: it is being placed
        Stalled not said
    "#]]
    .assert_eq(&all(&world, "web"));
    world.agents();
    world.pass();
    world.pass();
    expect![[r#"
        Accepted True Ok: the spec is valid and its claims are held
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed False Pending: dir1 has not reported on its latest Placement yet
        Ready False Pending: dir1 has not reported on its latest Placement yet
        Stalled not said
    "#]]
    .assert_eq(&all(&world, "web"));
}

#[test]
fn a_refused_service_is_stalled() {
    let mut world = World::new();
    world.apply(&WEB.replace("192.168.56.100", "10.0.0.1"));
    world.settle();
    expect![[r#"
        Accepted False NotAllowed: 10.0.0.1 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/24): choose an address within
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed False Pending: nothing of it was ever accepted
        Ready False NotAllowed: 10.0.0.1 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/24): choose an address within
        Stalled True NotAllowed: 10.0.0.1 is outside the allowedCIDRs of DirectorGroup default (192.168.56.0/24): choose an address within
    "#]].assert_eq(&all(&world, "web"));
}

#[test]
fn a_group_without_a_node_places_nothing_and_its_services_say_why() {
    let mut world = World::new();
    world.label("dir1", "lvs-operator.io/director", None);
    world.apply(WEB);
    world.settle();
    expect![[r#"
        Accepted True Ok: the spec is valid and its claims are held
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed False Pending: DirectorGroup default: nodeSelector selects no node: label the director's Node
        Ready False Pending: DirectorGroup default: nodeSelector selects no node: label the director's Node
        Stalled not said
    "#]]
    .assert_eq(&all(&world, "web"));
    let group = world.objects.director_groups[0].status.clone().unwrap();
    assert_eq!(
        crds::conditions::find(&group.conditions, "Accepted").unwrap().reason,
        "NotOneNode"
    );
    assert!(crds::conditions::is_true(&group.conditions, "Stalled"));
}

#[test]
fn a_selector_that_finds_nothing_is_not_ready_and_not_stalled() {
    let mut world = World::new();
    world.apply(WEB);
    world.settle();
    expect![[r#"
        Accepted True Ok: the spec is valid and its claims are held
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed True Ok: read back on dir1
        Ready False NoRealServers: realServerSelector finds no RealServer in namespace shop: label some, or correct it
        Stalled not said
    "#]]
    .assert_eq(&all(&world, "web"));
}

#[test]
fn a_silent_director_is_unknown_and_a_silent_host_is_too() {
    let mut world = World::serving();
    world.silent.insert("dir1".to_owned());
    world.silent.insert("rs1".to_owned());
    world.now += SignedDuration::from_secs(41);
    world.settle();
    expect![[r#"
        Accepted True Ok: the spec is valid and its claims are held
        ResolvedRefs True Ok: DirectorGroup default exists
        Programmed Unknown AgentLost: the agent of dir1 is silent: what it programmed goes on; look after lvs-agent on that node
        Ready Unknown AgentLost: the agent of dir1 is silent: what it programmed goes on; look after lvs-agent on that node
        Stalled not said
    "#]].assert_eq(&all(&world, "web"));
    expect!["Unknown AgentLost: VirtualService web: the agent of rs1 is silent: what it programmed goes on; look after lvs-agent on that node"].assert_eq(&world.said_of_real_server("rs1", "Prepared"));
    let status = world.service("web").status.clone().unwrap();
    assert_eq!(status.directors[0].role, crds::Role::Unknown);
    assert_eq!(status.addresses[0].node_name, None);
}

#[test]
fn what_the_kernel_refused_is_named() {
    let mut world = World::serving();
    let report = world.placement_mut("web", "dir1").status.get_or_insert_default();
    let programmed: &mut Condition = report
        .conditions
        .iter_mut()
        .find(|there| there.type_ == "Programmed")
        .unwrap();
    programmed.status = "False".to_owned();
    programmed.reason = "ModuleMissing".to_owned();
    programmed.message = "ip_vs is not loaded: modprobe ip_vs".to_owned();
    world.pass();
    expect!["False ModuleMissing: dir1: ip_vs is not loaded: modprobe ip_vs"].assert_eq(&world.said("web", "Ready"));
}

#[test]
fn two_directors_that_hold_one_vip_are_said_and_the_fresher_lease_counts() {
    let mut world = World::serving();
    // The group moved while dir1 was cut off; an administrator said that it is off, which it is not.
    world.silent.insert("dir1".to_owned());
    world.label("dir1", "lvs-operator.io/director", None);
    world.label("dir2", "lvs-operator.io/director", Some("true"));
    let alive = world.placement("web", "dir1").unwrap().clone();
    world.taint_out_of_service("dir1");
    world.settle();
    let mut ghost = alive;
    ghost.spec.director = None;
    ghost.metadata.generation = Some(9);
    world.objects.placements.push(ghost);
    world.pass();
    expect!["False DualActive: dir2 and dir1 all hold 192.168.56.100: switch off all but one"]
        .assert_eq(&world.said("web", "Ready"));
    assert_eq!(
        world.service("web").status.clone().unwrap().addresses[0]
            .node_name
            .as_deref(),
        Some("dir2")
    );
}

#[test]
fn a_refusal_and_its_end_are_told_once_each() {
    let mut world = World::serving();
    world.apply(&WEB.replace("192.168.56.100", "10.0.0.1"));
    let events = |world: &mut World| -> Vec<(EventKind, String)> {
        let writes = world.pass().writes.into_iter();
        writes
            .filter_map(|write| {
                if let Write::Event(event) = write {
                    Some((event.severity, event.reason))
                } else {
                    None
                }
            })
            .collect()
    };
    assert_eq!(events(&mut world), [(EventKind::Warning, "NotAllowed".to_owned())]);
    assert_eq!(events(&mut world), []);
    world.apply(WEB);
    assert_eq!(events(&mut world), [(EventKind::Normal, "Accepted".to_owned())]);
    assert_eq!(events(&mut world), []);
}

/// What the first pass tells, and that the second tells nothing more.
fn told(world: &mut World) -> Vec<String> {
    let told = |world: &mut World| -> Vec<String> {
        let events = world.pass().writes.into_iter().filter_map(|write| match write {
            Write::Event(event) => Some(format!(
                "{:?} {} {}: {}",
                event.severity, event.reason, event.key.name, event.note
            )),
            Write::CreatePlacement(_)
            | Write::ApplyPlacement(_)
            | Write::ReleasePlacement { .. }
            | Write::DeletePlacement { .. }
            | Write::Status(_) => None,
        });
        events.collect()
    };
    let first = told(world);
    assert_eq!(told(world), [""; 0], "told twice");
    first
}

#[test]
fn a_verdict_that_turns_is_told_once_and_other_words_for_it_are_not() {
    let mut world = World::serving();
    let says = |world: &mut World, words: Option<&str>| {
        let report = world.placement_mut("web", "dir1").status.as_mut().unwrap();
        report.director.as_mut().unwrap().real_servers[0].unhealthy = words.map(str::to_owned);
        told(world)
    };
    assert_eq!(
        says(
            &mut world,
            Some("connect to 192.168.56.30:80: connection refused, 4 of 4")
        ),
        ["Warning Unhealthy rs1: VirtualService web: dir1: connect to 192.168.56.30:80: connection refused, 4 of 4"]
    );
    assert_eq!(
        says(&mut world, Some("no answer of 192.168.56.30:80 within 5 s, 5 of 4")),
        [""; 0]
    );
    assert_eq!(
        says(&mut world, None),
        ["Normal Healthy rs1: every health check passes"]
    );
    assert_eq!(says(&mut world, None), [""; 0]);
    // What is no longer probed did not pass.
    says(&mut world, Some("down"));
    world.apply(&RS1.replace("addresses:", "healthChecks: [{none: {}}], addresses:"));
    world.settle();
    assert!(
        world
            .said_of_real_server("rs1", "Healthy")
            .starts_with("True NotRequired")
    );
    assert_eq!(told(&mut world), [""; 0]);
}

#[test]
fn the_order_in_which_the_api_keeps_conditions_is_no_difference() {
    let mut world = World::serving();
    let service = world.objects.virtual_services.iter_mut().next().unwrap();
    service.status.as_mut().unwrap().conditions.reverse();
    let real_server = world.objects.real_servers.iter_mut().next().unwrap();
    real_server.status.as_mut().unwrap().conditions.reverse();
    assert_eq!(world.decide().writes, []);
}

#[test]
fn a_transition_keeps_its_time_until_the_status_changes() {
    let mut world = World::serving();
    let since = |world: &World| {
        let status = world.service("web").status.clone().unwrap();
        crds::conditions::find(&status.conditions, "Ready")
            .unwrap()
            .last_transition_time
            .clone()
    };
    let before = since(&world);
    world.now += SignedDuration::from_secs(10);
    world.apply(&format!("{GROUP}  interface: eth0\n"));
    world.settle();
    assert!(since(&world) > before, "it was pending in between");
    let before = since(&world);
    world.now += SignedDuration::from_secs(10);
    world.apply("kind: RealServer\nmetadata: {name: far, labels: {app: none}}\nspec: {addresses: [10.1.1.1]}");
    world.settle();
    assert_eq!(since(&world), before);
}

#[test]
fn a_real_server_that_nobody_selects_is_not_ready() {
    let mut world = World::new();
    world.apply(RS1);
    world.settle();
    let said = ["Accepted", "Prepared", "Ready", "Stalled"].map(|type_| world.said_of_real_server("rs1", type_) + "\n");
    expect![[r#"
        True Ok: the spec is valid
        Unknown NotSelected: no VirtualService selects it
        False NotSelected: no VirtualService selects it: give it the labels of a realServerSelector
        not said
    "#]]
    .assert_eq(&said.concat());
}

#[test]
fn only_the_first_services_of_a_real_server_are_listed() {
    let mut world = World::new();
    world.apply(RS1);
    for number in 0..70 {
        world.apply(
            &WEB.replace("web}}", "none}}")
                .replace("port: 80", &format!("port: {}", 1000 + number))
                .replace("name: web", &format!("name: s{number}")),
        );
        world
            .objects
            .virtual_services
            .last_mut()
            .unwrap()
            .spec
            .real_server_selector = serde_yaml::from_str("matchLabels: {app: web}").unwrap();
    }
    let writes = world.decide().writes.into_iter();
    let mut statuses = writes.filter_map(|write| {
        if let Write::Status(StatusWrite::RealServer(_, status)) = write {
            Some(status)
        } else {
            None
        }
    });
    let status = statuses.next().unwrap();
    assert_eq!(status.virtual_services.len(), 64);
    assert_eq!(status.summary.unwrap().virtual_services, "s0,s1,s10+67");
}

#[test]
fn a_spec_that_an_agent_does_not_know_is_said_although_it_never_settles() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.settle();
    let placements = &mut world.objects.placements;
    let director = placements
        .iter_mut()
        .find(|placement| placement.spec.director.is_some())
        .unwrap();
    director.metadata.generation = director.metadata.generation.map(|generation| generation + 1);
    let said = director
        .status
        .as_mut()
        .unwrap()
        .conditions
        .iter_mut()
        .find(|said| said.type_ == "Programmed")
        .unwrap();
    said.status = "False".to_owned();
    said.reason = "UnknownField".to_owned();
    said.message = "unknown field spec.director.novel".to_owned();
    said.observed_generation = director.metadata.generation;
    world.pass();
    let words = "False UnknownField: dir1: unknown field spec.director.novel";
    assert_eq!(world.said("web", "Programmed"), words);
}

fn reported<'w>(world: &'w mut World, type_: &str, status: &str, message: &str) -> &'w mut Condition {
    let report = world.placement_mut("web", "dir1").status.get_or_insert_default();
    let conditions = &mut report.conditions;
    conditions.retain(|there| there.type_ != type_);
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: "ForeignChain".to_owned(),
        message: message.to_owned(),
        observed_generation: None,
        last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            "2026-11-22T12:00:00Z".parse().unwrap(),
        ),
    });
    conditions.last_mut().unwrap()
}

#[test]
fn a_foreign_firewall_in_the_way_is_said_with_the_director() {
    let mut world = World::serving();
    let said = |world: &World| {
        world.service("web").status.clone().unwrap().directors[0]
            .conditions
            .clone()
    };
    reported(
        &mut world,
        "BlockedByFirewall",
        "True",
        "table inet firewalld, chain filter_INPUT: policy drop",
    );
    world.pass();
    assert_eq!(said(&world).len(), 1);
    assert_eq!(
        said(&world)[0].message,
        "table inet firewalld, chain filter_INPUT: policy drop"
    );
    let mut silent = world.clone();
    reported(&mut world, "BlockedByFirewall", "False", "");
    world.pass();
    assert_eq!(said(&world), []);
    silent.now += SignedDuration::from_secs(41);
    silent.pass();
    assert_eq!(said(&silent), [], "nobody knows any more");
}

#[test]
fn case_04_a_hash_without_its_fallback_is_warned_of() {
    let mut world = World::serving();
    let service = |scheduler: &str| WEB.replace("scheduler: rr", scheduler);
    for (scheduler, expected) in [
        ("scheduler: sh", "not said"),
        ("scheduler: rr", "not said"),
        (
            "scheduler: sh\n  schedulerFlags: [sh-port]",
            "True SchedulerFlags: sh without sh-fallback: clients of a real server at weight 0, draining or above its threshold are refused. Add sh-fallback to schedulerFlags, or leave schedulerFlags out",
        ),
        ("scheduler: mh\n  schedulerFlags: [mh-fallback]", "not said"),
    ] {
        world.apply(&service(scheduler));
        world.settle();
        assert_eq!(world.said("web", "WithoutFallback"), expected, "{scheduler}");
        assert!(world.said("web", "Ready").starts_with("True"), "{scheduler}");
    }
}

#[test]
fn full_nat_hides_the_clients_and_says_so() {
    let mut world = World::serving();
    assert_eq!(world.said("web", "ClientAddressHidden"), "not said");
    world.apply(&RS1.replace("addresses:", "forwardingMethod: FullNAT, addresses:"));
    world.settle();
    expect!["True FullNAT: FullNAT: rs1 see the director's address and not the client's, and connections through it end at a failover"].assert_eq(&world.said("web", "ClientAddressHidden"));
    assert!(world.said("web", "Ready").starts_with("True"));
    expect!["True NotRequired: FullNAT needs nothing of the host"]
        .assert_eq(&world.said_of_real_server("rs1", "Prepared"));
    world.apply(RS1);
    world.settle();
    assert_eq!(world.said("web", "ClientAddressHidden"), "not said");
}

#[test]
fn a_nat_real_server_without_a_way_back_says_so() {
    let mut world = World::new();
    world.apply(&format!("{WEB}  forwardingMethod: NAT\n"));
    world.apply(RS1);
    let key = ("rs1".to_owned(), "rs1".to_owned(), "NAT");
    let words = "the default route leads to 192.168.56.1, and to no director (192.168.56.10)";
    world.unable.insert(key.clone(), words.to_owned());
    world.settle();
    expect!["False NoReturnRoute: VirtualService web: rs1: the default route leads to 192.168.56.1, and to no director (192.168.56.10)"].assert_eq(&world.said_of_real_server("rs1", "Prepared"));
    assert!(
        world
            .said_of_real_server("rs1", "Ready")
            .starts_with("False NoReturnRoute")
    );
    assert!(
        world.placements().contains("by NAT weight 1 for [192.168.56.100]"),
        "it is said, and not taken out"
    );
    world.unable.clear();
    world.settle();
    expect!["True NotRequired: NAT needs a route back through the director only"]
        .assert_eq(&world.said_of_real_server("rs1", "Prepared"));
}

#[test]
fn an_unprepared_host_is_quoted() {
    let mut world = World::serving();
    let key = ("rs1".to_owned(), "rs1".to_owned(), "DR");
    world.unable.insert(
        key,
        "net.ipv4.conf.eth0.arp_ignore is 0 and cannot be written".to_owned(),
    );
    world.settle();
    expect!["False Unprepared: VirtualService web: rs1: net.ipv4.conf.eth0.arp_ignore is 0 and cannot be written"]
        .assert_eq(&world.said_of_real_server("rs1", "Prepared"));
    assert!(world.placements().contains("to rs1 192.168.56.30 weight 1 for []"));
}

#[test]
fn what_a_group_could_not_have_is_named() {
    let mut world = World::new();
    world.pass();
    expect!["False Pending: dir1 has not reported on its latest Placement yet"].assert_eq(
        &world.said_of_group("default", "Ready").replace(
            "is being told what the group's services share",
            "has not reported on its latest Placement yet",
        ),
    );
    world.settle();
    assert!(world.said_of_group("default", "Ready").starts_with("True"));
    let report = world
        .group_placement_mut("default", "dir1")
        .status
        .get_or_insert_default();
    let programmed = report
        .conditions
        .iter_mut()
        .find(|there| there.type_ == "Programmed")
        .unwrap();
    programmed.status = "False".to_owned();
    programmed.reason = "ModuleMissing".to_owned();
    programmed.message = "nf_tables is not loaded: modprobe nf_tables".to_owned();
    world.pass();
    expect!["False ModuleMissing: dir1: nf_tables is not loaded: modprobe nf_tables"]
        .assert_eq(&world.said_of_group("default", "Ready"));
    assert!(world.said_of_group("default", "Accepted").starts_with("True"));
}

#[test]
fn a_real_server_that_is_down_is_said_to_be_with_the_agents_words() {
    let mut world = World::serving();
    let says = |world: &mut World, words: [Option<&str>; 2]| {
        let report = world.placement_mut("web", "dir1").status.as_mut().unwrap();
        let entries = &mut report.director.as_mut().unwrap().real_servers;
        for (entry, words) in entries.iter_mut().zip(words) {
            entry.unhealthy = words.map(str::to_owned);
        }
        world.pass();
    };
    let counts = |world: &World| {
        let counts = world.service("web").status.clone().unwrap().real_servers.unwrap();
        (counts.matched, counts.prepared, counts.healthy)
    };
    assert_eq!(counts(&world), (2, 2, 2));
    let refused = Some("connect to 192.168.56.30:80: connection refused, 4 of 4");
    says(&mut world, [refused, None]);
    expect!["False Unhealthy: VirtualService web: dir1: connect to 192.168.56.30:80: connection refused, 4 of 4"]
        .assert_eq(&world.said_of_real_server("rs1", "Healthy"));
    assert!(world.said_of_real_server("rs1", "Ready").starts_with("False Unhealthy"));
    expect!["True Ok: 1 real server serves; down: 1 (see the RealServers)"].assert_eq(&world.said("web", "Ready"));
    assert!(
        world.said("web", "Programmed").starts_with("True"),
        "the kernel is as it must be"
    );
    assert_eq!(counts(&world), (2, 2, 1));
    says(&mut world, [refused, refused]);
    expect!["False NoRealServers: no real server passes its health checks (rs1, rs2): see the RealServers"]
        .assert_eq(&world.said("web", "Ready"));
    let mut silent = world.clone();
    says(&mut world, [None, None]);
    assert!(world.said("web", "Ready").starts_with("True"));
    silent.now += SignedDuration::from_secs(41);
    silent.pass();
    assert!(
        silent
            .said_of_real_server("rs1", "Healthy")
            .starts_with("Unknown AgentLost")
    );
}

#[test]
fn what_no_probe_has_found_is_not_said_to_be_healthy_nor_told_as_a_failure() {
    let mut world = World::serving();
    let report = |world: &mut World, change: &dyn Fn(&mut crds::RealServerReport)| {
        let status = world.placement_mut("web", "dir1").status.as_mut().unwrap();
        change(&mut status.director.as_mut().unwrap().real_servers[0]);
    };
    // A check that was just written takes nobody out of service.
    report(&mut world, &|entry| entry.untested = true);
    assert_eq!(told(&mut world), [""; 0]);
    expect!["Unknown Pending: VirtualService web: dir1 has not probed it yet"]
        .assert_eq(&world.said_of_real_server("rs1", "Healthy"));
    expect!["True Ok: 2 real servers serve"].assert_eq(&world.said("web", "Ready"));
    // A real server that is new serves nobody before.
    report(&mut world, &|entry| entry.state = crds::DestinationState::Down);
    assert_eq!(told(&mut world), [""; 0]);
    expect!["True Ok: 1 real server serves; down: 1 (see the RealServers)"].assert_eq(&world.said("web", "Ready"));
    let refused = || Some("refused, 1 of 1".to_owned());
    report(&mut world, &|entry| entry.unhealthy = refused());
    assert_eq!(
        told(&mut world),
        ["Warning Unhealthy rs1: VirtualService web: dir1: refused, 1 of 1"],
        "one check has found something, another nothing yet"
    );
}

#[test]
fn checks_go_from_the_service_and_the_real_server_to_the_director() {
    let mut world = World::serving();
    let part = |world: &World| world.placement("web", "dir1").unwrap().spec.director.clone().unwrap();
    assert_eq!(
        part(&world).health_checks,
        [crds::HealthCheck::default()],
        "by TCP when absent"
    );
    world.apply(&format!(
        "{WEB}  healthChecks: [{{http: {{path: /healthz}}, intervalSeconds: 2}}]\n"
    ));
    world.apply(&RS1.replace("addresses:", "healthChecks: [{none: {}}], addresses:"));
    world.settle();
    let part = part(&world);
    assert_eq!(part.health_checks[0].interval_seconds, Some(2));
    let own = part.real_servers[0].health_checks.clone().unwrap();
    assert!(own[0].none.is_some());
    assert!(
        world
            .said_of_real_server("rs1", "Healthy")
            .starts_with("True NotRequired")
    );
}
