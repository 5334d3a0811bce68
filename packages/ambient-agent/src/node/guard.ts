// The guard as a service of the agent: it holds the pods of the mesh about which nobody has decided. The end of the scope leaves it in
// force. Nothing depends on it: where it cannot be had, the agent says so and goes on.
import { GUARD_PARTS, Guard, type GuardPart, type MissingPart, type PodEvent } from '@sluice/datapath';
import type { Netns } from '@sluice/linux';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Schema from 'effect/Schema';
import type { AgentConfig } from '../config/config.js';
import { pinDirectory } from '../config/pin-directory.js';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';

export class GuardError extends Schema.TaggedError<GuardError>()('GuardError', { message: Schema.String }) {}

/** What the guard has to know to see pods. */
export interface FirstFacts {
  /** Names of the namespaces whose pods are in the mesh unless their own labels say otherwise. */
  readonly namespaces: readonly string[];
  /** Ids of the cgroups that hold all pods. */
  readonly podsParents: readonly bigint[];
}

/** What the guard has to know. */
export interface GuardFacts extends FirstFacts {
  /** The pods whose listeners may be reached, by pod-level cgroup, and the namespace in which: its cookie, or 0n for any. */
  readonly reachable: readonly (readonly [id: bigint, netnsCookie: bigint])[];
  /** UIDs of the pods that are wanted in the mesh and have no cgroup yet. */
  readonly awaited: readonly string[];
  /** The paths of the pod-level cgroups that are there, by their ids. */
  readonly present: ReadonlyMap<bigint, string>;
  /** Ids of the pod-level cgroups of the pods that are not wanted in the mesh. */
  readonly out: readonly bigint[];
}

/** What came of telling it. */
export interface KeptGuard {
  /** What is wrong, in words. */
  readonly problems: readonly string[];
  /** Ids of the pod-level cgroups of which it knows that their listeners may be reached, so that these can be let go now. */
  readonly reachable: ReadonlySet<bigint>;
  /** Whether it could not be attached, told or read, which may be for a moment only: it has to be kept again. */
  readonly isUntold: boolean;
}

/** Called with what the guard tells as it happens; `dropped` events were lost after a batch. */
export type OnPodEvents = (batch: readonly PodEvent[], dropped: number) => void;

export class NodeGuard extends Context.Service<
  NodeGuard,
  {
    /**
     * Attaches the guard beside what an earlier agent attached. Call it when the maps are pinned and before the datapath is in force, which
     * asks the guard's maps. What goes wrong is tried again, and said, by {@link keep}.
     */
    readonly begin: (facts: FirstFacts) => Effect.Effect<void>;
    /** Tells the guard what it has to know, and attaches it if it is not. Call it when the datapath is in force. */
    readonly keep: (facts: GuardFacts) => Effect.Effect<KeptGuard>;
    /** What somebody has taken away or changed of it since, and why it could not be kept last; {@link keep} puts it back. */
    readonly disturbed: Effect.Effect<readonly MissingPart[]>;
    /** The parts that are attached. */
    readonly attached: () => readonly GuardPart[];
    /** Lets the listeners of reachable pods in a namespace go; says how many. */
    readonly letGo: (netns: Netns) => Effect.Effect<number, GuardError>;
    /** Takes the place of who listened before. */
    readonly listen: (onEvents: OnPodEvents) => void;
  }
>()('@sluice/ambient-agent/node/NodeGuard') {}

/** What follows when a part cannot be had. */
const WITHOUT: Readonly<Record<GuardPart, string>> = {
  cgroup_mkdir: 'a new pod is not held before the agent has decided about it',
  cgroup_rmdir: 'the room for pods about which nobody has decided is used up in the end',
  mkdirat: 'a new pod is not held before the agent has decided about it',
  mkdir: 'a new pod whose log directory is made by mkdir(2) is not held before the agent has decided about it',
  let_go:
    'the listeners of a new pod are not held before the agent has decided about it, and those that an earlier agent has held stay held',
  refuse_listen:
    'a listener of a new pod that was never bound, or is bound to a device by a process without CAP_NET_RAW, is not held before the agent has decided about it',
};

/** @param cgroup the one that all pods of the node are in */
export const nodeGuard = (config: AgentConfig, cgroup: string): Layer.Layer<NodeGuard> =>
  Layer.effect(
    NodeGuard,
    Effect.gen(function* () {
      const running = yield* Effect.acquireRelease(
        Effect.sync(() => new RunningGuard(config, cgroup)),
        (guard) => Effect.sync(() => guard.close()),
      );
      return NodeGuard.of({
        begin: (facts) => Effect.sync(() => running.begin(facts)),
        keep: (facts) =>
          Effect.gen(function* () {
            const kept = running.keep(facts);
            if (kept.isUntold) yield* metrics.error('guard');
            const attached = running.attached();
            yield* Effect.forEach(GUARD_PARTS, (part) => metrics.guard(part, attached.includes(part)), {
              discard: true,
            });
            return kept;
          }),
        disturbed: Effect.try({ try: () => running.disturbed(), catch: messageOf }).pipe(
          Effect.catch((message) =>
            Effect.as(metrics.error('guard'), [
              { kind: 'entry' as const, what: `the maps of the guard cannot be read: ${message}` },
            ]),
          ),
        ),
        attached: () => running.attached(),
        letGo: (netns) =>
          Effect.try({
            try: () => running.letGo(netns),
            catch: (error) => new GuardError({ message: messageOf(error) }),
          }),
        listen: (onEvents) => {
          running.onEvents = onEvents;
        },
      });
    }),
  );

class RunningGuard {
  onEvents: OnPodEvents = () => {};
  readonly #config: AgentConfig;
  readonly #cgroup: string;
  #guard: Guard | undefined;
  #reader: { close(): void } | undefined;
  /** Why it could not be attached, told, put back or read when that was tried last, in words. */
  #failures: readonly string[] = [];

  constructor(config: AgentConfig, cgroup: string) {
    this.#config = config;
    this.#cgroup = cgroup;
  }

  /** What goes wrong is {@link disturbed}, as in {@link keep}. */
  begin(facts: FirstFacts): void {
    this.#failures = failureOf('attached', () => this.#open(facts));
  }

  keep(facts: GuardFacts): KeptGuard {
    const opened = failureOf('attached', () => this.#open(facts));
    const guard = this.#guard;
    if (guard === undefined) {
      this.#failures = opened;
      const problems = opened.map((failure) => `${failure}; ${WITHOUT.cgroup_mkdir}`);
      return { problems, reachable: new Set(), isUntold: true };
    }
    let told: Told = { problems: [], reachable: [] };
    // Each goes on without the others: who may be reached is let go although nothing can be pinned.
    this.#failures = [
      ...failureOf('told of the pods', () => {
        told = tell(guard, facts);
      }),
      ...failureOf('put back', () => {
        guard.restore();
        guard.endFormer();
      }),
      ...failureOf('read', () => {
        this.#reader ??= guard.events((batch, dropped) => this.onEvents(batch, dropped));
      }),
    ];
    const missing = guard.missing().map(({ part, why }) => `the guard lacks ${part}, so that ${WITHOUT[part]}: ${why}`);
    return {
      problems: [...this.#failures, ...missing, ...told.problems],
      reachable: new Set(guard.canLetGo() ? told.reachable : []),
      isUntold: this.#failures.length > 0,
    };
  }

  disturbed(): readonly MissingPart[] {
    const failed = this.#failures.map((what): MissingPart => ({ kind: 'program', what }));
    return [...failed, ...(this.#guard?.disturbed() ?? [])];
  }

  attached(): readonly GuardPart[] {
    return this.#guard?.attached() ?? [];
  }

  letGo(netns: Netns): number {
    return this.#guard?.letGo(netns) ?? 0;
  }

  close(): void {
    this.#reader?.close();
    this.#guard?.close();
  }

  /** Throws what keeps it from being opened. */
  #open({ namespaces, podsParents }: FirstFacts): void {
    this.#guard ??= Guard.open({
      pinDirectory: pinDirectory(this.#config.paths.bpffs),
      cgroup: this.#cgroup,
      podLogs: this.#config.guard.podLogs,
      unknown: this.#config.policy.unknown,
      meshedNamespaces: namespaces,
      podsParents,
    });
  }
}

/** What comes of trying it: nothing, or why the guard cannot be that. */
function failureOf(done: string, attempt: () => void): readonly string[] {
  try {
    attempt();
    return [];
  } catch (error) {
    return [`the guard cannot be ${done}: ${messageOf(error)}`];
  }
}

interface Told {
  /** For what there is no room, in words. */
  readonly problems: readonly string[];
  /** The pods of which it knows that they may be reached. */
  readonly reachable: readonly bigint[];
}

/** Throws what keeps it from being told. */
function tell(guard: Guard, { namespaces, podsParents, reachable, awaited, present, out }: GuardFacts): Told {
  const [namespace, ...others] = guard.setMeshedNamespaces(namespaces);
  const parents = guard.setPodsParents(podsParents);
  const held = new Set(guard.setReachable(reachable));
  const unawaited = guard.setPods({ awaited, present, out });
  const problems = [
    ...(held.size === 0
      ? []
      : [`the guard has no room for ${held.size} pods, whose listeners stay held; raise \`capacities.pods\``]),
    ...(unawaited.length === 0
      ? []
      : [
          `the guard has no room for ${unawaited.length} pods that have not started, which are held only if their log directories are made anew; raise \`capacities.pods\``,
        ]),
    ...(namespace === undefined
      ? []
      : [
          `the guard has no room for the namespace ${namespace} and ${others.length} others: their new pods are not held before the agent has decided about them`,
        ]),
    ...(parents.length === 0
      ? []
      : [
          `the guard has no room for ${parents.length} cgroups that hold pods: what a process in them makes is believed`,
        ]),
  ];
  return { problems, reachable: reachable.map(([id]) => id).filter((id) => !held.has(id)) };
}
