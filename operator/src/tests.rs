//! Two operators on views of different age, agents that are silent or reboot, crashes between writes: whatever happens,
//! the rules hold at every step, and when it ends the world comes to rest at a fixpoint.

use crate::snapshot::Objects;
use crate::world::{GROUP, RS1, RS2, WEB, World};
use crate::{Snapshot, reconcile};
use jiff::SignedDuration;
use kube::ResourceExt;

/// A reproducible stream of choices (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// An operator's view: each kind as old as its watch is late.
#[derive(Default)]
struct Operator {
    seen: Objects,
}

impl Operator {
    fn catch_up(&mut self, world: &World, dice: &mut Dice) {
        // A director that was given up for silent, and came back unseen, may have old destinations: that is the price of
        // giving up, and not looked for here.
        self.seen.leases.clone_from(&world.objects.leases);
        match dice.roll(8) {
            0 => self.seen.virtual_services.clone_from(&world.objects.virtual_services),
            1 => self.seen.real_servers.clone_from(&world.objects.real_servers),
            2 => {
                self.seen.nodes.clone_from(&world.objects.nodes);
                self.seen.director_groups.clone_from(&world.objects.director_groups);
            }
            3 | 4 => self.seen.placements.clone_from(&world.objects.placements),
            5 => self.seen = world.objects.clone(),
            _ => {}
        }
    }

    /// Decides on what it sees, and crashes after some of the writes.
    fn pass(&self, world: &mut World, dice: &mut Dice) {
        let writes = reconcile(&Snapshot::from_objects(self.seen.clone()), world.now).writes;
        let carried_out = if dice.roll(3) == 0 {
            dice.roll(writes.len() + 1)
        } else {
            writes.len()
        };
        for write in writes.iter().take(carried_out) {
            let _ = world.carry_out(write);
            world.check();
        }
    }
}

const NODES: [&str; 4] = ["dir1", "dir2", "rs1", "rs2"];

const GUE: &str = "forwardingMethod: TUN, tunnel: {type: GUE, port: 6080}, ";

/// The group of both families.
fn group() -> String {
    GROUP.replace("[192.168.56.0/24]", "[192.168.56.0/24, 'fd56::/64']")
}

/// A service of any kind.
fn a_service(name: &str, dice: &mut Dice) -> String {
    let vip = dice.pick(&[
        "192.168.56.100",
        "192.168.56.100",
        "192.168.56.101",
        "'fd56::100'",
        "192.168.56.100}, {address: 'fd56::100'",
    ]);
    let takes = dice.pick(&[
        "ports: [{port: 80}]",
        "ports: [{port: 80}]",
        "ports: [{port: 443}]",
        "firewallMark: 10",
        "ports: [{port: 80}, {port: 443}]\n  persistence: {acrossPorts: true}",
        "ports: [{port: 0}]\n  persistence: {}",
    ]);
    let ways = [
        "DR",
        "DR",
        "NAT",
        "FullNAT",
        "TUN",
        "TUN\n  tunnel: {type: GRE}",
        "TUN\n  tunnel: {type: GRE, checksum: Checksum}",
    ];
    let service = WEB
        .replace("name: web", &format!("name: {name}"))
        .replace("192.168.56.100", vip)
        .replace("ports: [{port: 80}]", takes);
    let leaving = [
        "",
        "",
        "  drain: {timeoutSeconds: 0}\n",
        "  drain: {timeoutSeconds: 90}\n",
        "  sorryServer: {realServerName: rs2}\n",
        "  sorryServer: {realServerName: nobody}\n",
    ];
    format!(
        "{service}  forwardingMethod: {}\n{}",
        dice.pick(&ways),
        dice.pick(&leaving)
    )
}

/// A real server, on a node or beside the director, of one family or both, reached as its service says or otherwise.
fn a_real_server(dice: &mut Dice) -> String {
    // rs2 is a machine of its own, or one beside the director's agent.
    let beside = RS2.replace(
        "nodeName: rs2, addresses: [192.168.56.40]",
        "nodeName: dir1, addresses: [192.168.56.15]",
    );
    let both = RS1.replace("[192.168.56.30]", "[192.168.56.30, 'fd56::30']");
    let real_server = dice.pick(&[RS1, RS2, RS2, &beside, &both]).to_owned();
    let way = dice.pick(&[
        "",
        "",
        "",
        "forwardingMethod: NAT, port: 8080, ",
        "forwardingMethod: TUN, ",
        GUE,
    ]);
    let cordoned = dice.pick(&["", "", "cordoned: true, "]);
    real_server.replace(
        "addresses:",
        &format!("{way}{cordoned}weight: {}, addresses:", dice.roll(3)),
    )
}

fn something_happens(world: &mut World, dice: &mut Dice) {
    match dice.roll(18) {
        0 | 1 => {
            let name = dice.pick(&["web", "api", "old"]);
            world.apply(&a_service(name, dice));
        }
        2 => world.delete_service(dice.pick(&["web", "api", "old"])),
        3 | 4 => {
            let real_server = a_real_server(dice);
            world.apply(&real_server);
        }
        5 => world.delete_real_server(dice.pick(&["rs1", "rs2"])),
        6 => {
            for node in ["dir1", "dir2"] {
                let value = (dice.roll(2) == 0).then_some("true");
                world.label(node, "lvs-operator.io/director", value);
            }
        }
        7 => {
            let node = dice.pick(&NODES).to_owned();
            if !world.silent.remove(&node) {
                world.silent.insert(node);
            }
        }
        8 => {
            let node = dice.pick(&NODES);
            world.reboot(node, &format!("boot {}", dice.roll(1_000_000)));
        }
        9 => world.now += SignedDuration::from_secs(i64::try_from(dice.roll(50)).unwrap()),
        10 => {
            let names: Vec<String> = world.objects.placements.iter().map(ResourceExt::name_any).collect();
            if !names.is_empty() && dice.roll(3) == 0 {
                world.delete_placement(&names[dice.roll(names.len())]);
            }
        }
        11 => {
            let more = dice.pick(&[
                "",
                "",
                "  fullNAT: {sourceAddresses: [192.168.56.77]}\n",
                "  timeouts: {udpSeconds: 9}\n",
            ]);
            world.apply(&format!("{}{more}", group()));
        }
        12 => {
            let name = dice.pick(&["rs1", "rs2"]).to_owned();
            if !world.clinging.remove(&name) {
                world.clinging.insert(name);
            }
        }
        _ => {
            let node = dice.pick(&NODES);
            if !world.silent.contains(node) {
                world.agent(node);
            }
        }
    }
}

fn play(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::serving();
    world.apply(&group());
    let mut operators = [Operator::default(), Operator::default()];
    for operator in &mut operators {
        operator.seen = world.objects.clone();
    }
    for _ in 0..80 {
        something_happens(&mut world, &mut dice);
        world.check();
        let operator = &mut operators[dice.roll(2)];
        operator.catch_up(&world, &mut dice);
        if dice.roll(3) > 0 {
            operator.pass(&mut world, &mut dice);
        }
    }
    world.silent.clear();
    world.clinging.clear();
    world.label("dir1", "lvs-operator.io/director", Some("true"));
    world.label("dir2", "lvs-operator.io/director", None);
    world.settle();
    world.check_rest();
}

#[test]
fn f27_two_operators_on_old_views_and_crashes_keep_the_rules_and_come_to_rest() {
    for seed in 1..=200 {
        let result = std::panic::catch_unwind(|| play(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn what_is_applied_and_reported_is_not_written_again() {
    let world = World::serving();
    let decisions = world.decide();
    assert_eq!(decisions.writes, []);
    assert_eq!(decisions.refusals, 0);
}
