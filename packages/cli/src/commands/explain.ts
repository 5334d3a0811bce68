// `sluice explain`: which row of the decision table decides about a connection, by the maps that the kernel has.
import * as Console from 'effect/Console';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import * as Result from 'effect/Result';
import { Command } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { CommandFailure, ExitCode, failureOf } from '../exit.js';
import { configOf, output, placeFlags, text, toggle, type FlagValues } from './flags.js';

const flags = {
  ...placeFlags,
  output,
  pod: text('pod', 'NAMESPACE/NAME', 'The caller is a pod of this node'),
  fromHost: toggle('from-host', 'The caller is a process of the host'),
  fromKubelet: toggle('from-kubelet', 'The caller is the kubelet'),
  to: text('to', 'IP:PORT', 'The address that the caller dials: 10.0.0.1:80 or [fd00::1]:80'),
  device: text('device', 'NAME', "The device that the caller's socket is bound to (SO_BINDTODEVICE): eth0"),
  from: text('from', 'IP', 'The address of a client anywhere; with --to-pod'),
  toPod: text(
    'to-pod',
    'NAMESPACE/NAME:PORT',
    'The pod of this node and the port that the client dials (inPod mode): shop/cart:8080; with --from',
  ),
};

const usage = (message: string): CommandFailure => new CommandFailure({ exitCode: ExitCode.usage, message });

interface CallerFlags {
  readonly pod: Option.Option<string>;
  readonly fromHost: boolean;
  readonly fromKubelet: boolean;
}

type Caller = { kind: 'pod'; namespace: string; name: string } | { kind: 'host' | 'kubelet' };

/** The caller, or what is wrong with the flags that name it. */
function callerOf({ pod, fromHost, fromKubelet }: CallerFlags): Caller | string {
  const count = [Option.isSome(pod), fromHost, fromKubelet].filter(Boolean).length;
  if (count === 0) return 'name the caller: --pod NAMESPACE/NAME, --from-host or --from-kubelet';
  if (count > 1) return 'name only one caller: --pod NAMESPACE/NAME, --from-host or --from-kubelet';
  if (Option.isNone(pod)) return { kind: fromHost ? 'host' : 'kubelet' };
  const [namespace = '', name = '', ...rest] = pod.value.split('/');
  if (namespace === '' || name === '' || rest.length > 0)
    return `--pod ${pod.value} is not NAMESPACE/NAME, such as shop/cart`;
  return { kind: 'pod', namespace, name };
}

type Given = CallerFlags &
  FlagValues & {
    readonly output: 'table' | 'json';
    readonly to: Option.Option<string>;
    readonly device: Option.Option<string>;
    readonly from: Option.Option<string>;
    readonly toPod: Option.Option<string>;
  };

/** What a flag says, or what is wrong with it: a flag that is missing is not one that is written wrongly. */
function valueOf<Value>(
  name: string,
  given: Option.Option<string>,
  parse: (text: string) => Value | undefined,
  { what, example }: { readonly what: string; readonly example: string },
): Result.Result<Value, string> {
  if (Option.isNone(given)) return Result.fail(`--${name} is missing; write --${name} ${example}`);
  const value = parse(given.value);
  if (value === undefined) return Result.fail(`--${name} ${given.value} is not ${what}; write ${example}`);
  return Result.succeed(value);
}

const failuresOf = (...results: readonly Result.Result<unknown, string>[]): string[] =>
  results.flatMap((result) => (Result.isFailure(result) ? [result.failure] : []));

/** Explains a connection that comes to a pod. */
const explainToPod = (given: Given): Effect.Effect<void, CommandFailure> =>
  Effect.gen(function* () {
    const agent = yield* loadAgent;
    const client = valueOf('from', given.from, agent.parseClient, {
      what: 'an address',
      example: '10.0.0.1 or fd00::1',
    });
    const pod = valueOf('to-pod', given.toPod, agent.parsePodPort, {
      what: 'a pod and a port',
      example: 'shop/cart:8080',
    });
    const outbound = [given.to, given.pod, given.device];
    const isMixed = outbound.some(Option.isSome) || given.fromHost || given.fromKubelet;
    if (Result.isFailure(client) || Result.isFailure(pod) || isMixed) {
      const mixed = isMixed ? ['--from and --to-pod can only be combined with each other'] : [];
      return yield* usage([...mixed, ...failuresOf(client, pod)].join('; '));
    }
    const config = yield* configOf(given);
    const explanation = yield* Effect.try({
      try: () =>
        agent.explainInbound(
          agent.readNodeStatus(config.paths.runDir, config.paths.proc).state,
          client.success,
          pod.success,
        ),
      catch: failureOf,
    });
    if (given.output === 'json') return yield* Console.log(JSON.stringify(explanation));
    const { renderInbound } = yield* Effect.promise(() => import('../render/explain.js'));
    yield* Console.log(renderInbound(explanation));
  });

export const explain = Command.make('explain', flags, (given) =>
  Effect.gen(function* () {
    if (Option.isSome(given.from) || Option.isSome(given.toPod)) return yield* explainToPod(given);
    const caller = callerOf(given);
    const agent = yield* loadAgent;
    const to = valueOf('to', given.to, agent.parseDestination, {
      what: 'an address and a port',
      example: '10.0.0.1:80 or [fd00::1]:80',
    });
    if (typeof caller === 'string' || Result.isFailure(to)) {
      const problems = typeof caller === 'string' ? [caller] : [];
      return yield* usage([...problems, ...failuresOf(to)].join('; '));
    }
    const config = yield* configOf(given);
    const explanation = yield* Effect.try({
      try: () => {
        const { state } = agent.readNodeStatus(config.paths.runDir, config.paths.proc);
        const device = Option.getOrUndefined(given.device);
        return agent.explain(state, caller, { ...to.success, device }, config.paths.proc);
      },
      catch: failureOf,
    });
    if (given.output === 'json') return yield* Console.log(JSON.stringify(explanation));
    const { renderExplanation } = yield* Effect.promise(() => import('../render/explain.js'));
    yield* Console.log(renderExplanation(explanation));
  }),
).pipe(
  Command.withShortDescription('Show why a connection goes where it goes'),
  Command.withDescription(
    'Evaluates the decision table for a connection, without making it, on the pinned maps, which are what the kernel ' +
      'enforces. Prints each row that was tried and the one that decided. The agent need not run.',
  ),
  Command.withExamples([
    { command: 'sluice explain --pod shop/cart-7d4b9 --to 10.1.2.3:8080', description: 'From a pod' },
    {
      command: 'sluice explain --pod shop/cart-7d4b9 --to 10.1.2.3:8080 --device net1',
      description: 'By a socket that is bound to a device',
    },
    {
      command: "sluice explain --from-host --to '[fd00::12]:8080'",
      description: 'From a process of the host, by IPv6',
    },
    {
      command: 'sluice explain --from 10.9.8.7 --to-pod shop/cart-7d4b9:8080',
      description: 'From anywhere to a pod (inPod mode)',
    },
    { command: 'sluice explain --from-kubelet --to 10.1.2.3:8080', description: 'A probe' },
  ]),
);
