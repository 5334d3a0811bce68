// The rules that istio-cni writes into the namespace of an ambient pod (istio cni/pkg/iptables, without DNS and probes), in
// its chains and their order.
import { enterCommand, runToEnd } from '@sluice/testbed';

/** ztunnel's mark, and the one of connections that ztunnel makes; the mask is theirs too. */
const ZTUNNEL = '0x539/0xfff';
const MADE_BY_ZTUNNEL = '0x111/0xfff';
const NOT_ZTUNNEL = `-m mark ! --mark ${ZTUNNEL}`;

const rules = (loopback) =>
  `mangle -N ISTIO_PRERT
  mangle -N ISTIO_OUTPUT
  nat -N ISTIO_PRERT
  nat -N ISTIO_OUTPUT
  mangle -A PREROUTING -j ISTIO_PRERT
  mangle -A OUTPUT -j ISTIO_OUTPUT
  nat -A PREROUTING -j ISTIO_PRERT
  nat -A OUTPUT -j ISTIO_OUTPUT
  mangle -A ISTIO_PRERT -m mark --mark ${ZTUNNEL} -j CONNMARK --set-xmark ${MADE_BY_ZTUNNEL}
  mangle -A ISTIO_OUTPUT -m connmark --mark ${MADE_BY_ZTUNNEL} -j CONNMARK --restore-mark
  nat -A ISTIO_PRERT ! -d ${loopback} -p tcp -m tcp ! --dport 15008 ${NOT_ZTUNNEL} -j REDIRECT --to-ports 15006
  nat -A ISTIO_OUTPUT -p tcp -m mark --mark ${MADE_BY_ZTUNNEL} -j ACCEPT
  nat -A ISTIO_OUTPUT ! -d ${loopback} -o lo -j ACCEPT
  nat -A ISTIO_OUTPUT ! -d ${loopback} -p tcp ${NOT_ZTUNNEL} -j REDIRECT --to-ports 15001`
    .split('\n')
    .map((rule) => rule.trim().split(' '));

/** Redirects what comes in to a pod and what it dials, with the rule and the route for ztunnel's own dials. */
export async function redirectByIptables(pod) {
  const inside = (argv) => runToEnd(enterCommand({ netns: pod.netns }, argv));
  for (const [iptables, family, loopback] of [
    ['iptables-legacy', '-4', '127.0.0.1/32'],
    ['ip6tables-legacy', '-6', '::1/128'],
  ]) {
    for (const [table, ...rule] of rules(loopback)) await inside([iptables, '-t', table, ...rule]);
    await inside(['ip', family, 'rule', 'add', 'fwmark', MADE_BY_ZTUNNEL, 'pref', '32764', 'lookup', '100']);
    await inside(['ip', family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100']);
  }
}
