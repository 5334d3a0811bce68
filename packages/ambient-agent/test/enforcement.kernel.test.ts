// The datapath as the agent's service: its failures are errors that the agent can handle, not defects.
import { TestNode, requires } from '@sluice/testbed';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Result from 'effect/Result';
import { describe, expect, it } from 'vitest';
import { Enforcement, EnforcementError, resolveConfig } from '../src/index.js';
import { datapathEnforcement } from '../src/node/enforcement.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`the datapath as a service${need.label}`, () => {
  it('knows which listeners are missing, and fails when it is called after its end', async () => {
    await using node = await TestNode.create();
    const paths = { bpffs: await node.bpffs() };
    const config = Result.getOrThrow(resolveConfig({ paths }, 'this test'));
    const layer = datapathEnforcement(config, node.cgroup.path);
    const open = Effect.map(Layer.build(layer), (services) => Context.get(services, Enforcement));
    const { enforcement, ports } = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const enforcement = yield* open;
          return { enforcement, ports: yield* enforcement.missingListeners(1n) };
        }),
      ),
    );
    expect(ports).toEqual([15001, 15006]);
    const failure = await Effect.runPromise(Effect.flip(enforcement.missingListeners(1n)));
    expect(failure).toBeInstanceOf(EnforcementError);
    expect(failure).toMatchObject({ call: 'missingListeners', message: expect.stringContaining('listeners') });
  });
});
