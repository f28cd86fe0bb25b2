/**
 * Shell commands that furnish the namespaces of children: routes, firewalls and names, each with a way to fail.
 *
 * @module
 */
import type { ErrnoCode } from "../mod.ts";

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
 * Those of 127.0.2.0 refuse once and then let everybody in; those of 127.0.3.0 refuse once and then answer no more. What is
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

/** What connect(2) answers for the hosts of {@linkcode FIREWALL} that always refuse, at port 80. */
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
export const FIREWALL6 = `
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

/** What connect(2) answers for the hosts of {@linkcode FIREWALL6}, at port 80. */
export const REJECTED6: readonly (readonly [string, ErrnoCode])[] = [
  ["fd00::1", "ENETUNREACH"],
  ["fd00::2", "EACCES"],
  ["fd00::3", "EHOSTUNREACH"],
  ["fd00::4", "ECONNREFUSED"],
  ["fd00::5", "EACCES"],
  ["fd00::6", "EACCES"],
  ["fd00::7", "ECONNREFUSED"],
];

/** Files alone answer for names: no resolver is ever asked. */
export const FILES_ONLY = `
mount -t tmpfs none /mnt
echo "hosts: files" > /mnt/nsswitch
printf "127.0.0.1 one.test\\n127.0.0.2 two.test\\n127.0.0.3 two.test\\n" > /mnt/hosts
printf "fd00::1 six.test\\n127.0.0.1 six.test\\n" >> /mnt/hosts
mount --bind /mnt/nsswitch /etc/nsswitch.conf
mount --bind /mnt/hosts /etc/hosts
`;
