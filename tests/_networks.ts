/**
 * Shell commands that furnish the namespaces of children: routes, firewalls and names, each with a way to fail.
 *
 * @module
 */
import type { ErrnoCode } from "../mod.ts";
import { canIpv6 } from "./_harness.ts";

/** Whether the machine has IPv6. What follows does without it where it has not. */
const hasIpv6 = canIpv6() === null;

/** Rows whose first cell is a host, but for those of IPv6 where the machine has none. */
export function ofFamilies<R extends readonly [string, ...unknown[]]>(
  rows: readonly R[],
): readonly R[] {
  return hasIpv6 ? rows : rows.filter(([host]) => !host.includes(":"));
}

/** A route of each kind that leads nowhere; to other places there is none, loopback apart. */
export const ROUTES = `
ip route add unreachable 10.1.0.0/16
ip route add blackhole 10.2.0.0/16
ip route add prohibit 10.3.0.0/16
ip route add throw 10.4.0.0/16
`;

/**
 * A host for each way in which a firewall refuses.
 *
 * Those of 127.0.2.0 refuse once and then let everybody in; those of 127.0.3.0 refuse once and then are silent. What is
 * for 127.0.4.1 does not get out, and what is for 127.0.5.1 does not get in.
 */
export const FIREWALL = `
nft -f - <<END
table ip t {
  chain i {
    type filter hook input priority 0
    ip daddr 127.0.1.1 tcp dport 80 reject with icmp type net-unreachable
    ip daddr 127.0.1.2 tcp dport 80 reject with icmp type host-unreachable
    ip daddr 127.0.1.3 tcp dport 80 reject with icmp type prot-unreachable
    ip daddr 127.0.1.4 tcp dport 80 reject with icmp type port-unreachable
    ip daddr 127.0.1.5 tcp dport 80 reject with icmp type net-prohibited
    ip daddr 127.0.1.6 tcp dport 80 reject with icmp type host-prohibited
    ip daddr 127.0.1.7 tcp dport 80 reject with icmp type admin-prohibited
    ip daddr 127.0.1.8 tcp dport 80 reject with tcp reset
    ip daddr 127.0.2.0/24 limit rate 1/day burst 1 packets reject with icmp type host-unreachable
    ip daddr 127.0.3.0/24 limit rate 1/day burst 1 packets reject with icmp type host-unreachable
    ip daddr 127.0.3.0/24 drop
    ip daddr 127.0.5.1 drop
  }
  chain o {
    type filter hook output priority 0
    ip daddr 127.0.4.1 drop
  }
}
END
`;

/** What connect(2) fails with for the hosts of {@linkcode FIREWALL} that always refuse, at port 80. */
export const REJECTED: readonly (readonly [string, ErrnoCode])[] = [
  ["127.0.1.1", "ENETUNREACH"],
  ["127.0.1.2", "EHOSTUNREACH"],
  ["127.0.1.3", "ENOPROTOOPT"],
  ["127.0.1.4", "ECONNREFUSED"],
  ["127.0.1.5", "ENETUNREACH"],
  ["127.0.1.6", "EHOSTUNREACH"],
  ["127.0.1.7", "EHOSTUNREACH"],
  ["127.0.1.8", "ECONNREFUSED"],
];

/** To IPv6 what {@linkcode FIREWALL} is to IPv4. */
export const FIREWALL6: string = !hasIpv6 ? "" : `
for i in 1 2 3 4 5 6 7; do ip addr add fd00::$i/128 dev lo nodad; done
nft -f - <<END
table ip6 t {
  chain i {
    type filter hook input priority 0
    ip6 daddr fd00::1 tcp dport 80 reject with icmpv6 type no-route
    ip6 daddr fd00::2 tcp dport 80 reject with icmpv6 type admin-prohibited
    ip6 daddr fd00::3 tcp dport 80 reject with icmpv6 type addr-unreachable
    ip6 daddr fd00::4 tcp dport 80 reject with icmpv6 type port-unreachable
    ip6 daddr fd00::5 tcp dport 80 reject with icmpv6 type policy-fail
    ip6 daddr fd00::6 tcp dport 80 reject with icmpv6 type reject-route
    ip6 daddr fd00::7 tcp dport 80 reject with tcp reset
  }
}
END
`;

/** What connect(2) fails with for the hosts of {@linkcode FIREWALL6}, at port 80. */
export const REJECTED6: readonly (readonly [string, ErrnoCode])[] = ofFamilies(
  [
    ["fd00::1", "ENETUNREACH"],
    ["fd00::2", "EACCES"],
    ["fd00::3", "EHOSTUNREACH"],
    ["fd00::4", "ECONNREFUSED"],
    ["fd00::5", "EACCES"],
    ["fd00::6", "EACCES"],
    ["fd00::7", "ECONNREFUSED"],
  ] as const,
);

/** Names are looked up in files alone: no name server is asked. */
export const FILES_ONLY = `
mount -t tmpfs none /mnt
echo "hosts: files" > /mnt/nsswitch
printf "127.0.0.1 one.test\\n127.0.0.2 two.test\\n127.0.0.3 two.test\\n" > /mnt/hosts
printf "fd00::1 six.test\\n127.0.0.1 six.test\\n" >> /mnt/hosts
mount --bind /mnt/nsswitch /etc/nsswitch.conf
mount --bind /mnt/hosts /etc/hosts
`;

/**
 * A name server that behaves as the names say: those of `both.test` have 127.0.0.1 and ::1, of `v4.test` 127.0.0.1 alone; it
 * does not reply about `dead.test`, nor about the IPv6 of `deaf.test` and the IPv4 of `mute.test`, and about `slow.test` only
 * after 200 ms; about `lie.test` it replies to another question than the one that was asked. All others do not exist. It counts the questions of each kind in the file /mnt/asked.
 *
 * The file of hosts has `file.test`, which is 127.0.0.1, and `file6.test`, which is both.
 */
export const NAME_SERVER = `
mount -t tmpfs none /mnt
cat > /mnt/server.py <<'END'
import ctypes, heapq, os, select, signal, socket, struct, time
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with the process that started it
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.2", 53))
open("/mnt/ready", "w").close()
asked = open("/mnt/asked", "a")
later = []
while True:
    wait = max(later[0][0] - time.monotonic(), 0) if later else None
    if not select.select([s], [], [], wait)[0]:
        _, message, peer = heapq.heappop(later)
        s.sendto(message, peer)
        continue
    query, peer = s.recvfrom(4096)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind, = struct.unpack("!H", query[at + 1:at + 3])
    question = query[12:at + 5]
    zone = ".".join(labels[-2:])
    asked.write(f"{'.'.join(labels)} {kind}\\n")
    asked.flush()
    if zone == "dead.test" or (zone, kind) in [("deaf.test", 28), ("mute.test", 1)]:
        continue
    if zone == "lie.test":
        query = bytes([query[0], query[1] ^ 1]) + query[2:]
    known = zone in ("both.test", "v4.test", "deaf.test", "mute.test", "slow.test")
    data = None
    if known and kind == 1:
        data = socket.inet_pton(socket.AF_INET, "127.0.0.1")
    if known and kind == 28 and zone != "v4.test":
        data = socket.inet_pton(socket.AF_INET6, "::1")
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, 1 if data else 0, 0, 0)
    answer = b"\\xc0\\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data if data else b""
    heapq.heappush(later, (time.monotonic() + (0.2 if zone == "slow.test" else 0), head + question + answer, peer))
END
python3 /mnt/server.py < /dev/null > /dev/null 2>&1 &
echo "nameserver 127.0.0.1" > /mnt/resolv
echo "hosts: files dns" > /mnt/nsswitch
printf "127.0.0.1 file.test file6.test\\n::1 file6.test\\n" > /mnt/hosts
mount --bind /mnt/resolv /etc/resolv.conf
mount --bind /mnt/nsswitch /etc/nsswitch.conf
mount --bind /mnt/hosts /etc/hosts
until [ -e /mnt/ready ]; do sleep 0.01; done
`;

/** After {@linkcode NAME_SERVER}: has a server asked first that never replies. */
export const SILENT_SERVER_FIRST = `
printf "nameserver 127.0.0.2\\nnameserver 127.0.0.1\\n" > /mnt/resolv
`;

/** An interface with a firewall of this machine's own, and no neighbour. */
export const OWN_FIREWALL = `
ip link add d0 type veth peer name d1
ip addr add 10.6.0.1/24 dev d0
ip link set d0 up
ip link set d1 up
nft -f - <<END
table ip o {
  chain o {
    type filter hook output priority 0
    ip daddr 10.6.0.7 reject with icmp type admin-prohibited
    ip daddr 10.6.0.8 reject with tcp reset
  }
}
END
`;

/**
 * Two routers on the way to a host: 10.9.1.2 and 10.9.2.2 before 10.9.3.2, and fd09:1::2 and fd09:2::2 before fd09:3::2. Port
 * 8080 of that host is open, 81 is rejected by the second router, 82 is dropped by it, and the others are closed.
 */
export const ROUTERS = `
mount -t tmpfs none /run
quick="echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"
sh -c "$quick"
for n in r1 r2 t; do
  ip netns add $n
  ip netns exec $n sh -c "$quick"
  ip -n $n link set lo up
done
ip link add up0 type veth peer name up0 netns r1
ip -n r1 link add mid0 type veth peer name mid0 netns r2
ip -n r2 link add end0 type veth peer name end0 netns t
join() { # NAMESPACE INTERFACE NETWORK HOST
  ip -n $1 addr add 10.9.$3.$4/24 dev $2
  ip -n $1 addr add fd09:$3::$4/64 dev $2 nodad
  ip -n $1 link set $2 up
}
join r1 up0 1 2; join r1 mid0 2 1; join r2 mid0 2 2; join r2 end0 3 1; join t end0 3 2
ip addr add 10.9.1.1/24 dev up0; ip addr add fd09:1::1/64 dev up0 nodad; ip link set up0 up
for v in 4:10.9 6:fd09; do
  f=-\${v%%:*}; p=\${v#*:}
  if [ $f = -4 ]; then s=.; e=.; h=.0/24; else s=:; e=::; h=::/64; fi
  ip $f route add default via $p\${s}1\${e}2
  ip -n r1 $f route add $p\${s}3$h via $p\${s}2\${e}2
  ip -n r2 $f route add $p\${s}1$h via $p\${s}2\${e}1
  ip -n t $f route add default via $p\${s}3\${e}1
done
for n in r1 r2 t; do
  ip netns exec $n sh -c '
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
    echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
  '
done
ip netns exec r2 nft -f - <<END
table inet t {
  chain f {
    type filter hook forward priority 0
    tcp dport 81 reject with icmpx admin-prohibited
    tcp dport 82 drop
  }
}
END
ip netns exec t python3 -c '
import os, socket, time
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 8080))
s.listen(1000)
parent = os.getppid()
open("/run/ready", "w")
while os.getppid() == parent: time.sleep(0.1)
' > /dev/null 2>&1 &
while [ ! -e /run/ready ]; do sleep 0.01; done
`;

/**
 * A router, and behind it the hosts of 10.8.0.0/16, each of them with ports of every kind, as {@linkcode stateInField} has them.
 *
 * The router is 10.7.0.254, it rejects and drops by its own rules, and sends as many ICMP errors as there are to send.
 *
 * @param rules More rules of the router, before its own.
 */
export function field(rules = ""): string {
  return `
# One who has become nobody ends nobody's processes alone.
nobody="setpriv --reuid 65534 --regid 65534 --clear-groups --pdeathsig KILL"
unshare --net $nobody sleep 1d >/dev/null 2>&1 & R=$!
unshare --net $nobody sleep 1d >/dev/null 2>&1 & T=$!
here=$(readlink /proc/self/ns/net)
for p in $R $T; do
  until [ "$(readlink /proc/$p/ns/net)" != "$here" ]; do sleep 0.01; done
done
ip link add c0 type veth peer name r0
ip link add r1 type veth peer name t0
ip link set r0 netns $R
ip link set r1 netns $R
ip link set t0 netns $T
ip addr add 10.7.0.1/24 dev c0
ip link set c0 up
ip route add default via 10.7.0.254
nsenter -t $R -n sh -ec '
ip link set lo up
ip addr add 10.7.0.254/24 dev r0
ip link set r0 up
ip addr add 10.9.0.1/24 dev r1
ip link set r1 up
ip route add 10.8.0.0/16 via 10.9.0.2
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv4/icmp_ratemask
nft -f - <<END
table ip r {
  chain f {
    type filter hook forward priority 0
    ${rules}
    tcp dport 1005 reject with tcp reset
    tcp dport 1006 reject with icmp type host-unreachable
    tcp dport 1007 reject with icmp type admin-prohibited
    tcp dport 1008 reject with icmp type port-unreachable
    tcp dport 1009 reject with icmp type net-unreachable
    tcp dport 1010-1012 drop
  }
}
END'
nsenter -t $T -n sh -ec '
ip link set lo up
ip addr add 10.9.0.2/24 dev t0
ip link set t0 up
ip route add default via 10.9.0.1
ip route add local 10.8.0.0/16 dev lo
nft -f - <<END
table ip t {
  chain p {
    type nat hook prerouting priority -100
    tcp dport 1001-1002 redirect to :7
  }
}
END'
nsenter -t $T -n python3 -c '
import os, socket
parent = os.getppid()
listener = socket.create_server(("", 7), backlog=4096)
listener.settimeout(1)
while os.getppid() == parent:
  try: listener.accept()[0].close()
  except OSError: pass
' >/dev/null 2>&1 &
until nsenter -t $T -n ss -Hltn | grep -q :7; do sleep 0.01; done
`;
}

/** What a host of {@linkcode field} has at a port from 1001 to 1012. */
export function stateInField(port: number): "open" | "closed" | "filtered" {
  return port <= 1002 ? "open" : port <= 1005 ? "closed" : "filtered";
}

/** Who rejects at which port there, by ICMP's type 3 and these codes. */
export const CODES_IN_FIELD: Readonly<Record<number, number>> = {
  1006: 1,
  1007: 13,
  1008: 3,
  1009: 0,
};

/**
 * The same with two ways from the first router to the second, which names itself by the end of the way that a packet took:
 * 10.9.2.2 or 10.9.4.2. Ports decide which one that is.
 */
export const FLOWS = `${ROUTERS}
ip -n r1 link add alt0 type veth peer name alt0 netns r2
join r1 alt0 4 1; join r2 alt0 4 2
for n in r1 r2; do
  ip netns exec $n sh -c '
    echo 1 > /proc/sys/net/ipv4/fib_multipath_hash_policy
    echo 1 > /proc/sys/net/ipv4/icmp_errors_use_inbound_ifaddr
    echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
  '
done
ip -n r1 route replace 10.9.3.0/24 nexthop via 10.9.2.2 nexthop via 10.9.4.2
`;
