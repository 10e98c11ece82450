//! What an administrator does by hand: what the kernel itself can do, whoever programs it, and that the lab lets it pass.

use anyhow::Result;
use e2e::program::Program;
use e2e::scene::Scene;

use super::rows::{Cell, Family, Network, REAL_SERVERS};

/// VIPs, services and destinations, and what each network's methods need beside them.
pub(crate) fn programmed(scene: &Scene, network: Network) -> Result<()> {
    let director = scene.host("dir1")?;
    let mut lines = String::new();
    for cell in network.cells() {
        let service = service(&cell)?;
        lines += &format!("-A {service} -s rr\n");
        for (_, last) in REAL_SERVERS {
            lines += &format!("-a {service} -r {} {}\n", cell.destination(last)?.at, cell.row.ipvsadm);
        }
    }
    director.program(Program::line("ipvsadm -R").input(lines))?;
    for row in network.rows() {
        director.run(&format!("ip address add {}/32 dev eth0", row.vip(Family::Ipv4)))?;
        let vip = row.vip(Family::Ipv6);
        director.run(&format!("ip address add {vip}/128 dev eth0 nodad preferred_lft 0"))?;
    }
    match network {
        Network::OneLan => direct_routing(scene),
        Network::DirectorBetween => director.run(FORWARDS).map(drop),
        Network::Remote => {
            director.run(FORWARDS)?;
            director.shell(FULL_NAT)?;
            tunnels(scene)
        }
    }
}

const FORWARDS: &str = "sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0";

/// Source NAT of what IPVS has given another destination, for these VIPs alone.
const FULL_NAT: &str = "sysctl -qw net.ipv4.vs.conntrack=1
nft -f - <<END
table inet byhand {
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        ct original ip daddr 192.168.56.160 masquerade
        ct original ip6 daddr fd56::160 masquerade
    }
}
END";

fn service(cell: &Cell) -> Result<String> {
    let flag = match cell.transport.name() {
        "TCP" => "-t",
        "UDP" => "-u",
        _ => "--sctp-service",
    };
    Ok(format!("{flag} {}", cell.endpoint()?.at))
}

fn direct_routing(scene: &Scene) -> Result<()> {
    for (name, _) in REAL_SERVERS {
        let host = scene.host(name)?;
        host.run("sysctl -w net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2")?;
        for row in Network::OneLan.rows() {
            host.run(&format!(
                "ip address add {}/32 dev lo scope host",
                row.vip(Family::Ipv4)
            ))?;
            host.run(&format!("ip address add {}/128 dev lo", row.vip(Family::Ipv6)))?;
        }
    }
    Ok(())
}

/// One device for each kind of inner packet; GUE is taken off before.
fn tunnels(scene: &Scene) -> Result<()> {
    for (name, last) in REAL_SERVERS {
        let host = scene.host(name)?;
        let (four, six) = (
            Family::Ipv4.address(Network::Remote.lan(), last),
            Family::Ipv6.address(Network::Remote.lan(), last),
        );
        let mut script = format!(
            "set -e\nip link add t4 type ipip local {four} remote any\nip link add t6 type ip6tnl mode any local {six} remote ::\n\
             ip link add g4 type gre local {four} remote any\nip link add g6 type ip6gre local {six} remote ::\n\
             ip fou add port 6080 gue\nip -6 fou add port 6080 gue\n\
             for i in t4 t6 g4 g6; do ip link set $i up; done\n"
        );
        for row in Network::Remote.rows().filter(|row| row.bypasses()) {
            let (vip4, vip6) = (row.vip(Family::Ipv4), row.vip(Family::Ipv6));
            script += &format!("ip address add {vip4}/32 dev t4\nip address add {vip6}/128 dev t6 nodad\n");
        }
        host.shell(&script)?;
    }
    Ok(())
}
