// The model of a soak: what it permits in the cases that are written down, and that it never permits what nobody may.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Model, type Birth, type Party } from '../src/soak/model.js';
import { LABELS, NAMESPACES, STARTS, WAITINGS } from '../src/soak/steps.js';

const birth = (more: Partial<Birth> = {}): Birth => ({
  name: 'a',
  namespace: 'shop',
  label: 'no',
  waiting: 'no',
  start: 'ordinary',
  hasPauses: true,
  ...more,
});

/** A model whose namespace `shop` is in the mesh. */
function meshed({ hasRoom = true, judgesBirths = true } = {}): Model {
  const model = new Model(NAMESPACES, { hasRoom, judgesBirths });
  model.labelNamespace('shop', 'ambient');
  model.settled();
  return model;
}

const out = (model: Model, name = 'a'): Party[] => [...model.permits(name).out].toSorted();
const into = (model: Model, name = 'a'): Party[] => [...model.permits(name).in].toSorted();

describe('a pod that is wanted', () => {
  test('is never direct from its first instruction on, and in the mesh once everything has settled', () => {
    const model = meshed();
    model.create(birth());
    expect([out(model), into(model)]).toEqual([
      ['mesh', 'nobody'],
      ['mesh', 'nobody'],
    ]);
    model.settled();
    expect([out(model), into(model)]).toEqual([['mesh'], ['mesh']]);
  });

  test.each(STARTS.filter((start) => start !== 'static' && start !== 'no-logs-object-late'))(
    'is never direct although its start is %s and the agent is away',
    (start) => {
      const model = meshed();
      model.agentIsUp(false);
      model.create(birth({ start, hasPauses: false }));
      expect(out(model)).toEqual(start === 'no-logs' ? ['direct', 'mesh', 'nobody'] : ['mesh', 'nobody']);
    },
  );

  test('by its own label alone may be either until that can have been read', () => {
    const model = meshed();
    model.create(birth({ namespace: 'bank', label: 'ambient' }));
    expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
    model.settled();
    expect(out(model)).toEqual(['mesh']);
  });

  test('with neither logs nor an object that is there in time may be either', () => {
    const model = meshed();
    model.create(birth({ start: 'no-logs-object-late' }));
    model.create(birth({ name: 'b', start: 'no-logs' }));
    expect([out(model), out(model, 'b')]).toEqual([
      ['direct', 'mesh', 'nobody'],
      ['mesh', 'nobody'],
    ]);
    model.agentIsUp(false); // it may have ended before it read the object
    expect(out(model, 'b')).toEqual(['direct', 'mesh', 'nobody']);
  });

  test('goes directly while it waits, if the annotation that counts says so', () => {
    const model = meshed();
    model.setNamespaceWaiting('shop', 'open');
    model.settled();
    model.create(birth());
    model.create(birth({ name: 'b', waiting: 'refuse' }));
    model.create(birth({ name: 'c', waiting: 'maybe' }));
    expect([out(model), out(model, 'b'), out(model, 'c')]).toEqual([
      ['direct', 'mesh', 'nobody'],
      ['mesh', 'nobody'],
      ['direct', 'mesh', 'nobody'],
    ]);
    model.settled();
    expect(out(model)).toEqual(['mesh']);
    model.ztunnelIsDown();
    expect([out(model), out(model, 'b')]).toEqual([
      ['direct', 'mesh', 'nobody'],
      ['mesh', 'nobody'],
    ]);
  });

  test('stays what it is when its object goes, and may be either if its namespace changes then', () => {
    const model = meshed();
    model.create(birth());
    model.settled();
    model.objectGone('a');
    model.settled();
    expect([out(model), model.membershipOf('a')]).toEqual([['mesh'], 'in']);
    model.labelNamespace('shop', 'no');
    expect([out(model), model.membershipOf('a')]).toEqual([['direct', 'mesh', 'nobody'], undefined]);
    model.create(birth({ name: 'b' }));
    model.objectGone('b'); // nobody may have read it
    expect([out(model, 'b'), model.membershipOf('b')]).toEqual([['direct', 'mesh', 'nobody'], undefined]);
    model.objectBack('a');
    expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
    model.settled();
    expect(out(model)).toEqual(['direct']);
  });

  test('waits for ever if there is no room', () => {
    const model = meshed({ hasRoom: false });
    model.create(birth());
    model.settled(() => false);
    expect(out(model)).toEqual(['mesh', 'nobody']);
  });
});

test('nothing is forbidden at births if they are not judged', () => {
  const model = meshed({ judgesBirths: false });
  model.create(birth());
  expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
  model.settled();
  expect(out(model)).toEqual(['mesh']);
  model.disturbed('a');
  expect(out(model)).toEqual(['mesh', 'nobody']);
  model.renewed('a');
  expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
});

describe('a pod that is not wanted', () => {
  test('is never in the mesh, and refused only where its namespace is or may be in it', () => {
    const model = meshed();
    model.create(birth({ namespace: 'bank' }));
    model.create(birth({ name: 'b', label: 'none' }));
    model.create(birth({ name: 'c', start: 'static' }));
    expect([out(model), into(model)]).toEqual([['direct'], ['direct', 'nobody']]);
    expect(out(model, 'b')).toEqual(['direct', 'nobody']);
    expect(out(model, 'c')).toEqual(['direct', 'nobody']);
    model.settled();
    for (const name of ['a', 'b', 'c']) expect([out(model, name), into(model, name)]).toEqual([['direct'], ['direct']]);
  });
});

test('a running pod that changes may be either until it has settled', () => {
  const model = meshed();
  model.create(birth());
  model.settled();
  model.labelPod('a', 'none');
  expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
  model.labelPod('a', 'no');
  expect(out(model)).toEqual(['direct', 'mesh', 'nobody']);
  model.settled();
  expect(out(model)).toEqual(['mesh']);
  model.remove('a');
  expect(() => model.permits('a')).toThrow('no pod a');
});

test('whatever happens, something is permitted; what has settled has one party; `none` and static pods are never in the mesh', () => {
  const change = fc.oneof(
    fc.record({ name: fc.constantFrom('a', 'b'), label: fc.constantFrom(...LABELS) }),
    fc.record({ namespace: fc.constantFrom(...NAMESPACES), label: fc.constantFrom(...LABELS) }),
    fc.record({ agent: fc.boolean() }),
    fc.record({ gone: fc.constantFrom('a', 'b') }),
    fc.record({ back: fc.constantFrom('a', 'b') }),
    fc.constant('ztunnel' as const),
    fc.constant('settled' as const),
  );
  const births = fc.record({
    namespace: fc.constantFrom(...NAMESPACES),
    label: fc.constantFrom(...LABELS),
    waiting: fc.constantFrom(...WAITINGS),
    start: fc.constantFrom(...STARTS),
    hasPauses: fc.boolean(),
  });
  fc.assert(
    fc.property(births, births, fc.array(change), (first, second, changes) => {
      const model = meshed();
      model.create({ name: 'a', ...first });
      model.create({ name: 'b', ...second });
      for (const change of changes) {
        if (change === 'ztunnel') model.ztunnelIsDown();
        else if (change === 'settled') model.settled();
        else if ('agent' in change) model.agentIsUp(change.agent);
        else if ('gone' in change) model.objectGone(change.gone);
        else if ('back' in change) model.objectBack(change.back);
        else if ('namespace' in change) model.labelNamespace(change.namespace, change.label);
        else if (model.pods.get(change.name)?.hasObject === true) model.labelPod(change.name, change.label);
        for (const [name, pod] of model.pods) {
          const permits = model.permits(name);
          expect(permits.out.size).toBeGreaterThan(0);
          for (const party of permits.out) expect(permits.in).toContain(party);
          if (pod.birth.start === 'static') expect(permits.out).not.toContain('mesh');
          if (change === 'settled' && model.membershipOf(name) !== undefined)
            expect([...permits.in]).toEqual([model.membershipOf(name) === 'in' ? 'mesh' : 'direct']);
        }
      }
    }),
    { numRuns: 1000 },
  );
});
