// Policy rules of a network namespace: what becomes of a marked packet (ip-rule(8)).
import { constants } from 'node:os';
import { SystemCallError, systemCall, unless } from './errors.js';
import { native } from './native.js';
import type { Netns } from './netns.js';
import type { NativeRule } from './plumbing-native.js';

/** RTPROT_STATIC of linux/rtnetlink.h: "installed by the administrator", as opposed to `ip`'s RTPROT_BOOT (3). */
export const RTPROT_STATIC = 4;
/** FR_ACT_* of linux/fib_rules.h, by name. Numbers without a name are not in use. */
const ACTIONS = ['unspec', 'lookup', 'goto', 'nop', '', '', 'blackhole', 'unreachable', 'prohibit'];

/** `fwmark value/mask lookup table priority n`, or `fwmark value/mask unreachable priority n`. */
export type PolicyRule = RuleConditions &
  (
    | {
        action?: 'lookup';
        /** Number of the routing table, 1 to 2^32-1. */
        table: number;
      }
    /** Whoever sends such a packet gets ENETUNREACH. */
    | { action: 'unreachable'; table?: never }
  );

interface RuleConditions {
  family: 4 | 6;
  /** Rules are tried in the order of this number, 1 to 2^32-1. */
  priority: number;
  /** The packets whose mark has `value` in the bits of `mask`; every packet if left out. */
  fwmark?: { value: number; mask: number };
  /** The origin, RTPROT_*. Without it, adding uses RTPROT_STATIC (4) and deleting accepts any. */
  protocol?: number;
}

/** A rule as the kernel has it. */
export interface ListedRule extends RuleConditions {
  protocol: number;
  /** A name of ip-rule(8), or the number if it has no name here. */
  action: string;
  /** Means nothing unless `action` is 'lookup'. */
  table: number;
  /** Names of the rule's further conditions and effects, for example 'from', 'iif' or 'not'. */
  others: string[];
}

/** 'ipv6-disabled': the kernel or the namespace has no IPv6, so that there is nothing to steer either. */
export type Added = 'added' | 'present' | 'ipv6-disabled';
export type Deleted = 'deleted' | 'absent';

/** Every IPv4 and IPv6 rule, in the order in which the kernel tries them. */
export function rules({ fd, path }: Netns): ListedRule[] {
  return systemCall(() => native.netnsRules(fd, path)).map(listedRule);
}

/**
 * Adds a rule. 'present' if the same one exists already, whatever its origin.
 * @throws SystemCallError EEXIST if there is one that an older kernel considers the same but that does something else; EPERM
 * without CAP_NET_ADMIN.
 */
export function addRule(netns: Netns, rule: PolicyRule): Added {
  checkRule(rule);
  const isPresent = (): boolean => rules(netns).some((listed) => sameRule(rule, listed));
  return unless(
    (): Added => {
      // The kernel would add ours beside one that differs only in its protocol.
      if (isPresent()) return 'present';
      change(netns, true, rule, rule.protocol ?? RTPROT_STATIC);
      return 'added';
    },
    (code) => {
      if (rule.family === 6 && withoutIpv6(code)) return 'ipv6-disabled';
      return code === 'EEXIST' && isPresent() ? 'present' : undefined;
    },
  );
}

/**
 * Deletes this very rule and no other. The kernel deletes the first rule that has at least what is asked for, so it would
 * delete one with further conditions that comes before ours: then nothing is deleted.
 * @throws SystemCallError EBUSY in that case; EPERM without CAP_NET_ADMIN.
 */
export function deleteRule(netns: Netns, rule: PolicyRule): Deleted {
  checkRule(rule);
  const all = rules(netns);
  const ours = all.find((listed) => isTheRule(rule, listed));
  if (ours === undefined) return 'absent';
  if (all.find((listed) => kernelWouldTake({ ...rule, protocol: ours.protocol }, listed)) !== ours) {
    const where = `${netns.path} (RTM_DELRULE, IPv${rule.family}, priority ${rule.priority})`;
    const object = `${where}: a rule with further conditions stands before it and would go in its place`;
    throw new SystemCallError({ errno: constants.errno.EBUSY, syscall: 'rtnetlink', object });
  }
  return unless(
    (): Deleted => {
      change(netns, false, rule, ours.protocol);
      return 'deleted';
    },
    (code) => (code === 'ENOENT' || code === 'ESRCH' ? 'absent' : undefined),
  );
}

/** Whether a listed rule does exactly what `rule` says; its origin does not matter. */
export function sameRule(rule: PolicyRule, listed: ListedRule): boolean {
  const anyone = { ...rule, protocol: 0 };
  return kernelWouldTake(anyone, listed) && listed.others.length === 0 && maskOf(rule) === maskOf(listed);
}

/**
 * The codes with which a kernel that has no IPv6 (ipv6.disable=1) refuses rules and routes. ENOTSUP and EOPNOTSUPP are one
 * number, for which Node uses the first of these names.
 */
export function withoutIpv6(code: string): boolean {
  return code === 'EAFNOSUPPORT' || code === 'ENOTSUP';
}

function isTheRule(rule: PolicyRule, listed: ListedRule): boolean {
  return sameRule(rule, listed) && (rule.protocol === undefined || rule.protocol === listed.protocol);
}

/** What rule_find() of net/core/fib_rules.c compares when it deletes; a value that is 0 or left out matches any. */
function kernelWouldTake(rule: PolicyRule, listed: ListedRule): boolean {
  const { value, mask } = rule.fwmark ?? { value: 0, mask: 0 };
  return (
    listed.action === (rule.action ?? 'lookup') &&
    listed.family === rule.family &&
    listed.priority === rule.priority &&
    (rule.table === undefined || listed.table === rule.table) &&
    (value === 0 || listed.fwmark?.value === value) &&
    (mask === 0 || maskOf(listed) === mask) &&
    ((rule.protocol ?? 0) === 0 || listed.protocol === rule.protocol)
  );
}

const maskOf = (rule: Pick<RuleConditions, 'fwmark'>): number => rule.fwmark?.mask ?? 0;

function listedRule({ mark, mask, action, ...rest }: NativeRule): ListedRule {
  const fwmark = mask === 0 ? {} : { fwmark: { value: mark, mask } };
  return { ...rest, ...fwmark, action: ACTIONS[action] || String(action) };
}

function change({ fd, path }: Netns, add: boolean, rule: PolicyRule, protocol: number): void {
  const { value, mask } = rule.fwmark ?? { value: 0, mask: 0 };
  const action = ACTIONS.indexOf(rule.action ?? 'lookup');
  native.changeRule(fd, path, add, rule.family, rule.priority, rule.table ?? 0, value, mask, protocol, action);
}

function checkRule({ family, fwmark, action = 'lookup', table }: PolicyRule): void {
  if (family !== 4 && family !== 6) throw new RangeError('family must be 4 or 6');
  if (action !== 'lookup' && action !== 'unreachable') throw new RangeError("action must be 'lookup' or 'unreachable'");
  if (action === 'lookup' ? !((table ?? 0) > 0) : table !== undefined)
    throw new RangeError("table must be a number from 1 to 4294967295 for 'lookup', and left out for 'unreachable'");
  if (fwmark !== undefined && (fwmark.mask === 0 || (fwmark.value & ~fwmark.mask) !== 0))
    throw new RangeError('fwmark.value must have no bits outside fwmark.mask, and the mask must not be 0');
}
