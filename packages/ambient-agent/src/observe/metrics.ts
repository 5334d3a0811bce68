// Every metric of the agent: its name, its meaning, and the one function that changes it.
import * as Effect from 'effect/Effect';
import * as Metric from 'effect/Metric';

const reconciles = Metric.counter('sluice_reconciles_total', {
  description: 'Runs of the reconciler',
  incremental: true,
});
const hints = Metric.counter('sluice_hints_total', {
  description: 'Reasons to look again, by kind',
  incremental: true,
});
const errors = Metric.counter('sluice_errors_total', { description: 'Errors, by kind', incremental: true });
const manifests = Metric.gauge('sluice_inventory_problems', {
  description: 'Objects and files of the inventory that cannot be used now',
});
const entriesWritten = Metric.counter('sluice_map_writes_total', {
  description: 'Map entries written',
  incremental: true,
});
const entriesRemoved = Metric.counter('sluice_map_removals_total', {
  description: 'Map entries removed',
  incremental: true,
});
const entries = Metric.gauge('sluice_map_entries', { description: 'Entries that the maps ought to hold, by map' });
const workloads = Metric.gauge('sluice_workloads', { description: 'Pods of this node, by state' });
const pods = Metric.gauge('sluice_pods', { description: 'Pods of this node, by state and by the reason for it' });
const oldestMismatch = Metric.gauge('sluice_oldest_mismatch_seconds', {
  description:
    'For how long the pod that has waited longest has been wanted in the mesh, and not in it; 0 if there is none',
});
const captures = Metric.gauge('sluice_captured_workloads', {
  description: 'Pods in the mesh, by how their connections are captured: route, rewrite',
});
const standby = Metric.gauge('sluice_standby', {
  description: 'Whether this agent stands by, until the one that runs has ended',
});
const missing = Metric.gauge('sluice_missing', {
  description: 'What somebody else has taken away of the datapath and is not put back yet, by kind',
});
const repairs = Metric.counter('sluice_repairs_total', {
  description: 'What somebody else had taken away or changed, and was put back, by kind',
  incremental: true,
});
const guardParts = Metric.gauge('sluice_guard', {
  description:
    'Whether a part of what holds new pods of the mesh while nobody has decided about them is attached: 0, 1',
});
const unseenPods = Metric.counter('sluice_unseen_pods_total', {
  description:
    'Pods that have come and that one source of hints has not shown within ten seconds: process-events, guard',
  incremental: true,
});
const decisions = Metric.gauge('sluice_decisions', {
  description: 'Decisions of the datapath since it was loaded, by verdict and reason',
});
const inbound = Metric.gauge('sluice_inbound', {
  description:
    'Decisions about new connections into pods in inPod mode since the datapath was loaded, by verdict and reason; the reason outbound is for what a pod dials itself, by route',
});
const datapathEvents = Metric.gauge('sluice_datapath_events', {
  description: 'Events of the datapath other than decisions, since it was loaded',
});
const processEvents = Metric.gauge('sluice_process_events', {
  description: 'Messages of the proc connector since the start, and what went wrong with them',
});
const podEvents = Metric.counter('nodeagent_reconcile_events_total', {
  description: 'Changes of this node’s pods in the Kubernetes API: add, update, delete',
  incremental: true,
});
const apiAge = Metric.gauge('sluice_api_age_seconds', {
  description:
    'Seconds since the Kubernetes API last sent anything about this collection (bookmarks come every minute)',
});
const apiConnected = Metric.gauge('sluice_api_connected', {
  description: 'Whether a watch of this collection is open',
});
const apiObjects = Metric.gauge('sluice_api_objects', { description: 'Known objects of this collection' });
const apiEvents = Metric.gauge('sluice_api_requests', {
  description: 'Lists, watches, events and failures since the start, by collection',
});
const writes = Metric.counter('sluice_api_writes_total', {
  description: 'Annotations and Events written to the Kubernetes API, by outcome',
  incremental: true,
});
// istio-cni's own names, for the dashboards that know it (cni/pkg/nodeagent/metrics.go).
const ztunnelConnected = Metric.gauge('ztunnel_connected', { description: 'Connected ztunnels' });
const zdsConnections = Metric.gauge('sluice_zds_connections', { description: 'Connected ztunnels' });
const zdsWorkloads = Metric.gauge('sluice_zds_workloads', {
  description: 'Pods that ztunnel is to serve: all, and those that it has not acknowledged',
});
const zdsEvents = Metric.gauge('sluice_zds_events', { description: 'Events of the ZDS server since the start' });

type Labels = Record<string, string>;

/** istio-cni's words (istio pkg/kube/controllers, EventType). */
const eventTypes = { added: 'add', changed: 'update', deleted: 'delete' } as const;

export const metrics = {
  reconciled: Metric.update(reconciles, 1),
  hint: (kind: string): Effect.Effect<void> => Metric.update(Metric.withAttributes(hints, { kind }), 1),
  error: (kind: string): Effect.Effect<void> => Metric.update(Metric.withAttributes(errors, { kind }), 1),
  /** Since the start, by kind. */
  errorCounts: Effect.map(Metric.snapshot, (all) =>
    Object.fromEntries(
      all.flatMap(({ id, type, attributes, state }) =>
        id === errors.id && type === 'Counter' ? [[attributes?.['kind'] ?? '', Number(state.count)] as const] : [],
      ),
    ),
  ),
  manifestProblems: (count: number): Effect.Effect<void> => Metric.update(manifests, count),
  applied: (written: number, removed: number): Effect.Effect<void> =>
    Effect.andThen(Metric.update(entriesWritten, written), Metric.update(entriesRemoved, removed)),
  entries: (map: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(entries, { map }), count),
  workloads: (state: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(workloads, { state }), count),
  pods: (state: string, reason: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(pods, { state, reason }), count),
  oldestMismatch: (seconds: number): Effect.Effect<void> => Metric.update(oldestMismatch, seconds),
  captures: (by: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(captures, { by }), count),
  podEvent: (kind: keyof typeof eventTypes): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(podEvents, { type: eventTypes[kind] }), 1),
  api: (
    resource: string,
    values: { readonly ageSeconds: number; readonly connected: boolean; readonly objects: number },
  ) =>
    Effect.all(
      [
        Metric.update(Metric.withAttributes(apiAge, { resource }), values.ageSeconds),
        Metric.update(Metric.withAttributes(apiConnected, { resource }), values.connected ? 1 : 0),
        Metric.update(Metric.withAttributes(apiObjects, { resource }), values.objects),
      ],
      { discard: true },
    ),
  apiRequests: (resource: string, what: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(apiEvents, { resource, what }), count),
  apiWrite: (what: 'annotation' | 'event', outcome: string): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(writes, { what, outcome }), 1),
  standby: (is: boolean): Effect.Effect<void> => Metric.update(standby, is ? 1 : 0),
  guard: (part: string, isAttached: boolean): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(guardParts, { part }), isAttached ? 1 : 0),
  unseenPod: (by: string): Effect.Effect<void> => Metric.update(Metric.withAttributes(unseenPods, { by }), 1),
  missing: (kind: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(missing, { kind }), count),
  repaired: (kind: string): Effect.Effect<void> => Metric.update(Metric.withAttributes(repairs, { kind }), 1),
  decisions: (labels: Labels, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(decisions, labels), count),
  inbound: (labels: Labels, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(inbound, labels), count),
  datapathEvent: (event: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(datapathEvents, { event }), count),
  zdsConnections: (count: number): Effect.Effect<void> =>
    Effect.andThen(Metric.update(ztunnelConnected, count), Metric.update(zdsConnections, count)),
  zdsWorkloads: (which: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(zdsWorkloads, { which }), count),
  zdsEvent: (event: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(zdsEvents, { event }), count),
  processEvents: (outcome: string, count: number): Effect.Effect<void> =>
    Metric.update(Metric.withAttributes(processEvents, { outcome }), count),
};
