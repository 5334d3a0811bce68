// The rules and routes of a namespace at the places that Sluice uses: which of them are ours, and which stand in the way.
import { routes, rules, sameRoute, sameRule, type ListedRoute, type ListedRule, type Netns } from '@sluice/linux';
import {
  EVERY_PART,
  MADE_BY_US,
  PLACES,
  routePartOf,
  type Family,
  type Half,
  type RoutePart,
  type RulePart,
} from './parts.js';

/** Of linux/rtnetlink.h. */
const RT_TABLE_LOCAL = 255;

/** What the kernel has of both families. */
export interface SeenRules {
  readonly rules: readonly ListedRule[];
  /** Those of our tables. */
  readonly routes: readonly ListedRoute[];
}

/** @throws SystemCallError */
export const seeRules = (netns: Netns): SeenRules => ({
  rules: rules(netns),
  routes: Object.values(PLACES).flatMap(({ table }) => routes(netns, table)),
});

/** Whoever added it. */
export const hasPart = (seen: SeenRules, part: RulePart | RoutePart): boolean =>
  part.kind === 'rule'
    ? seen.rules.some((listed) => sameRule(part.rule, listed))
    : seen.routes.some((listed) => sameRoute(part.route, listed));

/** What Sluice has added, whatever is wanted now, in the order in which it was added. */
export function oursAmong(seen: SeenRules): readonly (RulePart | RoutePart)[] {
  const ourRoutes = seen.routes.flatMap((listed) =>
    listed.protocol === MADE_BY_US ? (routePartOf(listed) ?? []) : [],
  );
  const ourRules = EVERY_PART.filter((part) => part.kind === 'rule').filter(({ rule }) =>
    seen.rules.some((listed) => listed.protocol === MADE_BY_US && sameRule(rule, listed)),
  );
  return [...ourRoutes, ...ourRules];
}

/** What stands in the way of a half. */
export interface InTheWay {
  readonly part: 'rule' | 'route';
  /** A clause in words. */
  readonly what: string;
}

/**
 * What keeps a half from working: a rule at one of our priorities could be used instead of ours, a route in our table would
 * lead packets elsewhere, and a rule before those of capture would lead marked packets elsewhere. Pure.
 */
export function whatIsInTheWay(half: Half, families: readonly Family[], seen: SeenRules): InTheWay | undefined {
  const { table, priorities } = PLACES[half];
  const rulesThere = seen.rules.filter(({ family }) => families.includes(family));
  const rule = rulesThere.find((listed) => priorities.includes(listed.priority) && !isOurRule(listed));
  if (rule !== undefined)
    return { part: 'rule', what: `the IPv${rule.family} rule "${textOfRule(rule)}" has a priority that Sluice uses` };
  const before = half === 'capture' ? rulesThere.find(isBeforeCapture) : undefined;
  if (before !== undefined)
    return { part: 'rule', what: `the IPv${before.family} rule "${textOfRule(before)}" comes before those of Sluice` };
  const route = seen.routes.find(
    (listed) => families.includes(listed.family) && listed.table === table && !isInPlace(half, listed),
  );
  if (route === undefined) return undefined;
  return { part: 'route', what: `the IPv${route.family} route "${textOfRoute(route)}" is in a table that Sluice uses` };
}

const isOurRule = (listed: ListedRule): boolean =>
  EVERY_PART.some((part) => part.kind === 'rule' && sameRule(part.rule, listed));

/** The route of answers has one form, which does as well if it is istio-cni's. That of capture may have to be replaced. */
const isInPlace = (half: Half, listed: ListedRoute): boolean =>
  routePartOf(listed) !== undefined && (half === 'answers' || listed.protocol === MADE_BY_US);

/** Whether it is before all of ours and may lead marked packets elsewhere; the kernel's own rule for the local table is not. */
function isBeforeCapture({ priority, action, table, fwmark, others }: ListedRule): boolean {
  const isLocal = action === 'lookup' && table === RT_TABLE_LOCAL && fwmark === undefined && others.length === 0;
  return priority < Math.min(...PLACES.capture.priorities) && !isLocal;
}

function textOfRule({ priority, fwmark, action, table, others }: ListedRule): string {
  const mark = fwmark === undefined ? '' : ` fwmark 0x${fwmark.value.toString(16)}/0x${fwmark.mask.toString(16)}`;
  const further = others.length === 0 ? '' : ` (${others.join(', ')})`;
  return `priority ${priority}${mark}${further}${action === 'lookup' ? ` lookup ${table}` : ` ${action}`}`;
}

function textOfRoute({ type, destination, interface: device, source, table }: ListedRoute): string {
  return `${type} ${destination}${device === '' ? '' : ` dev ${device}`}${source === undefined ? '' : ` src ${source}`} table ${table}`;
}
