// What becomes of a pod's connections while they cannot reach ztunnel: annotations before the configuration, and a limit.
import { WorkloadFlag } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WAITING, WAITING_ANNOTATION, waitingPolicy, type Waiting } from '../src/enrolment/waiting.js';

const { REFUSE_WAITING, OPEN_WAITING } = WorkloadFlag;
const FLAGS = { hold: 0, refuse: REFUSE_WAITING, open: OPEN_WAITING } as const;

const annotated = (value: string | undefined): { annotations: Record<string, string> } => ({
  annotations: value === undefined ? {} : { [WAITING_ANNOTATION]: value },
});

const word = fc.constantFrom(...WAITING);
const written = fc.option(fc.oneof(word, fc.constantFrom('', 'Hold', 'closed', 'true')), { nil: undefined });
const asked = fc.record({
  ofPod: written,
  ofNamespace: written,
  hasNamespace: fc.boolean(),
  policy: fc.record({ pending: word, noZtunnel: word }),
  isPending: fc.boolean(),
  isOverdue: fc.boolean(),
});
type Asked = typeof asked extends fc.Arbitrary<infer T> ? T : never;

const ask = ({ ofPod, ofNamespace, hasNamespace, ...rest }: Asked) =>
  waitingPolicy({
    pod: annotated(ofPod),
    namespace: hasNamespace ? { name: 'shop', labels: {}, ...annotated(ofNamespace) } : undefined,
    ...rest,
  });

const known = (text: string | undefined): Waiting | undefined => WAITING.find((one) => one === text);

describe('connections that cannot reach ztunnel', () => {
  it('follow the pod, then its namespace, then the state’s own setting of the node', () => {
    fc.assert(
      fc.property(asked, (case_) => {
        const { ofPod, ofNamespace, hasNamespace, policy, isPending, isOverdue } = case_;
        const ofNode = isPending ? policy.pending : policy.noZtunnel;
        const wanted = known(ofPod) ?? (hasNamespace ? known(ofNamespace) : undefined) ?? ofNode;
        const { waiting, flags } = ask(case_);
        expect(waiting).toBe(wanted === 'hold' && isOverdue ? 'refuse' : wanted);
        expect(flags).toBe(FLAGS[waiting]);
      }),
    );
  });

  it('and of a long value that says nothing, the problem shows the beginning', () => {
    const { problems } = waitingPolicy({
      pod: { annotations: { 'sluice/waiting': 'x'.repeat(100_000) } },
      namespace: undefined,
      policy: { pending: 'hold', noZtunnel: 'hold' },
      isPending: false,
      isOverdue: false,
    });
    expect(problems).toEqual([
      `annotation sluice/waiting: \`${'x'.repeat(64)}…\` (100000 characters) is none of hold, refuse, open; it counts as absent`,
    ]);
  });

  it('and a value that says nothing is a problem of the pod, which says whose it is', () => {
    fc.assert(
      fc.property(asked, (case_) => {
        const isNothing = (text: string | undefined): boolean => text !== undefined && known(text) === undefined;
        const expected = [
          ...(isNothing(case_.ofPod)
            ? [`annotation sluice/waiting: \`${case_.ofPod}\` is none of hold, refuse, open; it counts as absent`]
            : []),
          ...(case_.hasNamespace && isNothing(case_.ofNamespace)
            ? [
                `annotation sluice/waiting of namespace shop: \`${case_.ofNamespace}\` is none of hold, refuse, open; it counts as absent`,
              ]
            : []),
        ];
        const { problems, waiting } = ask(case_);
        const wanted = ask({ ...case_, isOverdue: false }).waiting;
        const impatient =
          'it has been without ztunnel for longer than `policy.holdLimit`: its new connections are refused';
        expect(problems).toEqual([...expected, ...(waiting === wanted ? [] : [impatient])]);
      }),
    );
  });
});
