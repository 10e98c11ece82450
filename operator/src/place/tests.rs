use crate::world::{RS1, WEB, World};
use expect_test::{Expect, expect};

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.placements());
}

#[test]
fn a_service_comes_reserved_and_unprepared_then_owned_and_prepared() {
    let mut world = World::new();
    world.apply(WEB);
    world.apply(RS1);
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Reserved
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for []
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    world.agents();
    world.pass();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    let passes = world.settle();
    check(
        &world,
        expect![[r#"
        web@dir1 director 192.168.56.100 Node
        web@dir1 director serves Tcp/80/rr
        web@dir1 director to rs1 192.168.56.30 weight 1 for [192.168.56.100]
        web@rs1 host of rs1 192.168.56.100
    "#]],
    );
    assert_eq!(passes, 1);
}
