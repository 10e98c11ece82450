//! What somebody else may do to what is ours, a row each: how, when it counts as repaired, and within which time that must be.
//!
//! A route is in no row: lvs-operator sets none. What the kernel gives no notice of — a single IPVS entry, a sysctl, a
//! GUE port, timeouts — is found by the next audit.

use std::time::Duration;

use super::{AUDIT, Client};

/// The cheap look, twice a second, and a pass.
const FLUSH: Duration = Duration::from_millis(1500);
/// The same look, at a knob; and a pass over everything.
const BY_LOOK: Duration = Duration::from_millis(2500);
/// The kernel notifies.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The kernel notifies, too, but only nft can tell what is there: under emulation it takes a second to start, to list the
/// ruleset, and to change it.
const BY_NFT: Duration = Duration::from_millis(3000);
/// An audit reads everything, nftables too, before anything is repaired.
const BY_AUDIT: Duration = AUDIT.saturating_add(Duration::from_millis(3000));

/// Looks into files without a fork: a process costs as much here as a repair. `$D` is the device that unwraps GUE.
pub(crate) const WORDS: &str =
    "has() { while read -r line; do case $line in *\"$2\"*) return 0;; esac; done < $1; return 1; }
    for D in /proc/sys/net/ipv4/conf/lvs-ipip-*; do D=${D##*/}; done";
/// 192.168.56.100:80, rs1 and rs2, as the kernel writes them.
const SERVES: &str = "has /proc/net/ip_vs 'C0A83864:0050 rr' && has /proc/net/ip_vs '-> C0A8381E:0050      Route   1 ' \
    && has /proc/net/ip_vs '-> C0A83828:0050      Route   1 '";
const HAS_VIP: &str = "has /proc/net/fib_trie 192.168.56.100";
const HAS_TUNNEL: &str = "has /proc/net/fib_trie 192.168.56.151";

/// A disturbance, and what becomes of it.
pub(crate) struct Row {
    pub(crate) kind: &'static str,
    pub(crate) host: &'static str,
    pub(crate) by: String,
    /// Succeeds when it is repaired.
    pub(crate) healed: String,
    pub(crate) within: Duration,
    /// The clients whose way to an answer is cut until then; all others must not notice anything.
    pub(crate) cut: &'static [Client],
}

const ALL: &[Client] = &Client::ALL;
const FULL_NAT: &[Client] = &[Client::FullNat, Client::FullNatIpv6];

fn row(kind: &'static str, host: &'static str, by: &str, healed: &str, within: Duration) -> Row {
    Row {
        kind,
        host,
        by: by.to_owned(),
        healed: healed.to_owned(),
        within,
        cut: &[],
    }
}

fn sysctl(host: &'static str, name: &str, [wrong, right]: [u8; 2], cut: &'static [Client]) -> Row {
    let path = name.replace('.', "/");
    let healed = format!("read value < /proc/sys/{path}; [ $value = {right} ]");
    let by = format!("sysctl -qw {name}={wrong}");
    Row {
        cut,
        ..row("sysctl", host, &by, &healed, BY_AUDIT)
    }
}

/// These take strangers along, so they come before there are any.
pub(crate) fn flushes() -> Vec<Row> {
    // As many services as before: their number alone tells nothing.
    let replaced = "n=$(ipvsadm -Sn | grep -c ^-A); ipvsadm -C
        for i in $(seq $n); do ipvsadm -A -t 192.168.56.10:$((8079 + i)) -s rr; done";
    vec![
        row("IPVS flushed", "dir1", "ipvsadm -C", SERVES, FLUSH),
        row("IPVS replaced", "dir1", replaced, SERVES, FLUSH),
    ]
}

pub(crate) fn others() -> Vec<Row> {
    // Links late: a director whose addresses come and go is other news for the real servers' hosts, too. Not right behind
    // what is of nftables: the director reads that back, for a second, before it looks at anything else.
    [services(), nftables(), tunnels(), addresses(), sysctls()]
        .into_iter()
        .flatten()
        .collect()
}

fn services() -> Vec<Row> {
    let web = "-t 192.168.56.100:80";
    let rs1 = format!("{web} -r 192.168.56.30:80");
    vec![
        row(
            "service deleted",
            "dir1",
            &format!("ipvsadm -D {web}"),
            SERVES,
            BY_AUDIT,
        ),
        row(
            "destination deleted",
            "dir1",
            &format!("ipvsadm -d {rs1}"),
            SERVES,
            BY_AUDIT,
        ),
        row(
            "weight changed",
            "dir1",
            &format!("ipvsadm -e {rs1} -g -w 5"),
            SERVES,
            BY_AUDIT,
        ),
        // Between two schedulers the kernel refuses who connects.
        Row {
            cut: &[Client::Dr],
            ..row(
                "scheduler changed",
                "dir1",
                &format!("ipvsadm -E {web} -s sed"),
                SERVES,
                BY_AUDIT,
            )
        },
        row(
            "destination added",
            "dir1",
            &format!("ipvsadm -a {web} -r 192.168.56.99:80 -g -w 0"),
            "! has /proc/net/ip_vs C0A83863:0050",
            BY_AUDIT,
        ),
        row(
            "timeouts changed",
            "dir1",
            "ipvsadm --set 10 10 10",
            "case $(ipvsadm -Ln --timeout) in *' 901 121 301') true;; *) false;; esac",
            BY_AUDIT,
        ),
    ]
}

fn addresses() -> Vec<Row> {
    let link = "ip link set eth0 down; ip -4 address flush dev eth0; ip link set eth0 up; \
        ip address add fd56::10/64 dev eth0 nodad; ip address add 192.168.56.10/24 dev eth0";
    let other = "ip link add eth7 type veth peer name eth8; ip link set eth7 up; ip address add 10.78.0.1/24 dev eth7";
    let silent = "read value < /proc/sys/net/ipv4/conf/eth7/arp_ignore; [ $value = 1 ]";
    let lost = |host, device: &str| {
        let by = format!("ip address del 192.168.56.100/32 dev {device}");
        row("VIP deleted", host, &by, HAS_VIP, AT_ONCE)
    };
    vec![
        Row {
            cut: &[Client::Dr],
            ..lost("dir1", "eth0")
        },
        Row {
            cut: &[Client::Dr],
            ..lost("rs1", "lo")
        },
        row("link added", "rs1", other, silent, AT_ONCE),
        Row {
            cut: ALL,
            // With the link's addresses goes that from which probes are sent: nftables changes, too.
            ..row("link down, and up", "dir1", link, HAS_VIP, BY_NFT)
        },
    ]
}

fn tunnels() -> Vec<Row> {
    // 6080.
    let port = "has /proc/net/udp :17C0";
    let rows = [
        row("tunnel device deleted", "rs1", "ip link del $D", HAS_TUNNEL, AT_ONCE),
        row("tunnel device down", "rs1", "ip link set $D down", HAS_TUNNEL, AT_ONCE),
        row("GUE port deleted", "rs1", "ip fou del port 6080", port, BY_AUDIT),
    ];
    rows.map(|row| Row {
        cut: &[Client::Tun],
        ..row
    })
    .into()
}

fn nftables() -> Vec<Row> {
    let table = "inet lvs_operator";
    let deleted = format!("nft delete table {table}");
    let there = |chain: &str, what: &str| format!("nft list chain {table} {chain} | grep -q '{what}'");
    let drop = "daddr @vips4 .*drop";
    let rule = format!(
        "nft delete rule {table} guard handle $(nft -a list chain {table} guard | sed -n 's/.*{drop} # handle //p')"
    );
    let element = |verb: &str| format!("nft {verb} element {table} vips4 '{{ 192.168.56.100 }}'");
    let emptied = format!("nft flush chain {table} source_nat");
    vec![
        Row {
            cut: FULL_NAT,
            ..row("nft table deleted", "dir1", &deleted, &there("guard", drop), BY_NFT)
        },
        row(
            "nft table deleted",
            "rs1",
            &deleted,
            &there("unwrapped", "directors4"),
            BY_NFT,
        ),
        row("nft rule deleted", "dir1", &rule, &there("guard", drop), BY_NFT),
        row(
            "nft element deleted",
            "dir1",
            &element("delete"),
            &element("get"),
            BY_NFT,
        ),
        Row {
            cut: FULL_NAT,
            ..row(
                "nft chain emptied",
                "dir1",
                &emptied,
                &there("source_nat", "vmap"),
                BY_NFT,
            )
        },
    ]
}

fn sysctls() -> Vec<Row> {
    vec![
        sysctl("rs1", "net.ipv4.conf.eth0.arp_ignore", [0, 1], &[]),
        sysctl("rs1", "net.ipv4.conf.eth0.arp_announce", [0, 2], &[]),
        // Strict drops what comes out of the tunnel: the way back to the client is another one.
        sysctl("rs1", "net.ipv4.conf.$D.rp_filter", [1, 2], &[Client::Tun]),
        sysctl("dir1", "net.ipv4.conf.all.send_redirects", [1, 0], &[]),
        sysctl("dir1", "net.ipv4.conf.eth0.send_redirects", [1, 0], &[]),
        // Only what the director asks itself is not answered then: found before a real server is taken for dead.
        Row {
            within: BY_LOOK,
            ..sysctl("dir1", "net.ipv4.conf.eth0.accept_local", [0, 1], &[])
        },
        sysctl("dir1", "net.ipv4.conf.eth0.forwarding", [0, 1], &[Client::FullNat]),
        sysctl("dir1", "net.ipv6.conf.all.forwarding", [0, 1], &[Client::FullNatIpv6]),
        sysctl("dir1", "net.ipv6.conf.eth0.accept_ra", [1, 2], &[]),
        sysctl("dir1", "net.ipv4.vs.conntrack", [0, 1], FULL_NAT),
        sysctl("dir1", "net.ipv4.vs.expire_quiescent_template", [0, 1], &[]),
    ]
}
