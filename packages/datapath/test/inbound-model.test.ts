// The inbound table as a pure function: each row, in its order.
import { describe, expect, it } from 'vitest';
import { NOT_IN_MESH, WorkloadFlag, decideInbound } from '../src/index.js';
import type { DesiredMaps, InboundQuery } from '../src/index.js';

const COOKIE = 7n;
const WORKLOAD = 70n;

function mapsWith(flags: number, change: Partial<DesiredMaps> = {}): DesiredMaps {
  return {
    cgroups: new Map(),
    netns: new Map([[COOKIE, { id: WORKLOAD, inMesh: true, ip: '10.0.0.7', flags, detectedFlags: flags }]]),
    localPods: new Map(),
    ownAddresses: new Map([[COOKIE, ['10.0.0.7', '10.0.0.8']]]),
    rules: [],
    settings: {
      ztunnelIPv4: undefined,
      ztunnelIPv6: undefined,
      noZtunnel: 'closed',
      unknown: 'hold',
      ztunnelByMark: false,
      probesExempt: 'kubelet',
      hostNetnsCookie: 1n,
      cgroupLevels: [],
      sampleEvery: 0,
    },
    ...change,
  };
}

const CAPTURED = WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD;
const query: InboundQuery = { netnsCookie: COOKIE, ip: '10.0.0.7', port: 80, clientIp: '10.9.9.9' };
const ask = (flags: number, change: Partial<InboundQuery> = {}, maps: Partial<DesiredMaps> = {}): string => {
  const { verdict, reason, listener } = decideInbound(mapsWith(flags, maps), { ...query, ...change });
  return [verdict, reason, listener].filter((part) => part !== undefined).join(' ');
};
const { REFUSE_WAITING, OPEN_WAITING } = WorkloadFlag;
const rule = { kind: 'port', workload: WORKLOAD, direction: 'inbound' } as const;

describe('the inbound table', () => {
  it('steers what comes in to a captured pod, whatever the port and the address', () => {
    expect(ask(CAPTURED)).toBe('steer steered 15006');
    for (const port of [15006, 1]) expect(ask(CAPTURED, { port })).toBe('steer steered 15006');
    expect(ask(CAPTURED, { ip: 'fd00::1', clientIp: 'fd00::2' })).toBe('steer steered 15006');
    expect(ask(CAPTURED, { listeners: [15001] })).toBe('refuse no-listener');
    expect(ask(CAPTURED, { listeners: [15001], canHold: true })).toBe('hold no-listener');
    expect(ask(CAPTURED | REFUSE_WAITING, { listeners: [15001], canHold: true })).toBe('refuse no-listener');
    expect(ask(CAPTURED | OPEN_WAITING, { listeners: [15001], canHold: true })).toBe('pass no-listener');
    expect(ask(CAPTURED | OPEN_WAITING, { listeners: [15001], port: 15006 })).toBe('refuse no-listener');
  });

  it('leaves alone what is not captured, and the loopback', () => {
    expect(ask(WorkloadFlag.AMBIENT)).toBe('pass not-in-mesh');
    expect(ask(0, {}, { netns: new Map([[COOKIE, NOT_IN_MESH]]) })).toBe('pass not-in-mesh');
    for (const ip of ['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1'])
      expect(ask(CAPTURED, { ip })).toBe('pass loopback');
  });

  it('lets nothing but probes in to a namespace without an entry', () => {
    const netns = new Map();
    expect(ask(0, {}, { netns })).toBe('refuse pending');
    expect(ask(0, { canHold: true }, { netns })).toBe('hold pending');
    expect(ask(0, { port: 15001, canHold: true }, { netns })).toBe('refuse outbound-listener');
    expect(ask(0, { exempt: true }, { netns })).toBe('pass exempt');
  });

  it('knows which connections may pass', () => {
    expect(ask(CAPTURED, { port: 15008 })).toBe('pass hbone');
    expect(ask(CAPTURED, { exempt: true })).toBe('pass exempt');
    expect(ask(CAPTURED, { clientIp: '::ffff:10.0.0.7' })).toBe('pass self');
    expect(ask(CAPTURED, { port: 15001, redirected: true })).toBe('steer outbound-listener 15001');
    const closed = { port: 15001, redirected: true, listeners: [15006] };
    expect(ask(CAPTURED, closed)).toBe('refuse outbound-listener');
    expect(ask(CAPTURED | OPEN_WAITING, { ...closed, canHold: true })).toBe('hold outbound-listener');
    expect(ask(CAPTURED | REFUSE_WAITING, { ...closed, canHold: true })).toBe('refuse outbound-listener');
    expect(ask(CAPTURED, { ...closed, canHold: true, redirected: false })).toBe('refuse outbound-listener');
    expect(ask(CAPTURED, { port: 80, redirected: true })).toBe('steer steered 15006');
    expect(ask(CAPTURED, { port: 15001 })).toBe('refuse outbound-listener');
    expect(ask(CAPTURED, { port: 15001, clientIp: '10.0.0.7' })).toBe('refuse outbound-listener');
    expect(ask(CAPTURED, { clientIp: '10.0.0.8' })).toBe('pass self');
    expect(ask(CAPTURED, { clientIp: '10.0.0.8' }, { ownAddresses: new Map() })).toBe('steer steered 15006');
  });

  it('gives what the pod itself dials to the outbound listener, whatever the destination', () => {
    const dialled = { isOnLoopback: true, clientIp: '10.0.0.7', ip: '10.9.9.9' };
    for (const port of [80, 15001, 15006, 15008])
      expect(ask(CAPTURED, { ...dialled, port })).toBe('steer outbound 15001');
    for (const flags of [WorkloadFlag.PENDING, WorkloadFlag.BYPASS_INBOUND])
      expect(ask(CAPTURED | flags, dialled)).toBe('steer outbound 15001');
    expect(ask(CAPTURED, { ...dialled, listeners: [15006] })).toBe('refuse outbound');
    for (const flags of [CAPTURED, CAPTURED | OPEN_WAITING, WorkloadFlag.AMBIENT])
      expect(ask(flags, { ...dialled, listeners: [], canHold: true })).toBe('hold outbound');
    expect(ask(CAPTURED | REFUSE_WAITING, { ...dialled, listeners: [], canHold: true })).toBe('refuse outbound');
    expect(ask(CAPTURED, { ...dialled, exempt: true })).toBe('pass exempt');
    expect(ask(CAPTURED, { ...dialled, ip: '10.0.0.7' })).toBe('pass self');
    expect(ask(CAPTURED, { ...dialled, ip: '10.0.0.8' })).toBe('pass self');
    expect(ask(CAPTURED, { ...dialled, ip: '10.0.0.8', port: 15001 })).toBe('refuse outbound-listener');
    expect(ask(CAPTURED, { ...dialled, isOnLoopback: false })).toBe('steer outbound 15001');
    expect(ask(CAPTURED, { ...dialled, ip: '127.0.0.1' })).toBe('pass loopback');
    // Its addresses go after its flags when a pod leaves.
    expect(ask(WorkloadFlag.AMBIENT, dialled)).toBe('steer outbound 15001');
    expect(ask(WorkloadFlag.AMBIENT, dialled, { ownAddresses: new Map() })).toBe('pass not-in-mesh');
    expect(ask(CAPTURED, dialled, { ownAddresses: new Map() })).toBe('steer outbound 15001');
  });

  it('holds a pending pod, or lets everything but ztunnel’s own ports be reached', () => {
    const flags = CAPTURED | WorkloadFlag.PENDING;
    const canHold = { canHold: true };
    expect(ask(flags, canHold)).toBe('hold pending');
    expect(ask(flags)).toBe('refuse pending');
    expect(ask(flags | REFUSE_WAITING, canHold)).toBe('refuse pending');
    expect(ask(flags, { ...canHold, exempt: true, listeners: [] })).toBe('pass exempt');
    expect(ask(flags | OPEN_WAITING, canHold)).toBe('pass pending');
    expect(ask(flags | OPEN_WAITING | REFUSE_WAITING, canHold)).toBe('refuse pending');
    expect(ask(flags | OPEN_WAITING, { port: 15006 })).toBe('refuse pending');
  });

  it('holds what peers send while ztunnel does not listen, whether the pod is pending or not', () => {
    for (const flags of [CAPTURED, CAPTURED | WorkloadFlag.PENDING]) {
      expect(ask(flags, { port: 15008 })).toBe('pass hbone');
      const closed = { port: 15008, listeners: [15001], canHold: true };
      expect(ask(flags, closed)).toBe('hold hbone');
      expect(ask(flags, { ...closed, canHold: false })).toBe('refuse hbone');
      expect(ask(flags | REFUSE_WAITING, closed)).toBe('refuse hbone');
      expect(ask(flags | OPEN_WAITING, closed)).toBe('pass hbone');
    }
  });

  it('lets connections to a pod that bypasses the capture pass, but for ztunnel’s own ports', () => {
    const flags = CAPTURED | WorkloadFlag.BYPASS_INBOUND;
    expect(ask(flags)).toBe('pass bypass');
    expect(ask(flags, { port: 15006 })).toBe('refuse bypass');
  });

  it('follows the rules of the pod', () => {
    const excluding = { rules: [{ ...rule, action: 'exclude', port: 80 }] } as const;
    expect(ask(CAPTURED, {}, excluding)).toBe('pass excluded');
    expect(ask(CAPTURED, { port: 81 }, excluding)).toBe('steer steered 15006');
    const including = { rules: [{ ...rule, action: 'include', port: 80 }] } as const;
    expect(ask(CAPTURED, {}, including)).toBe('steer steered 15006');
    expect(ask(CAPTURED, { port: 81 }, including)).toBe('pass excluded');
    expect(ask(CAPTURED, { port: 15006 }, including)).toBe('refuse excluded');
  });

  it('reports every row that it tried', () => {
    const { rows } = decideInbound(mapsWith(CAPTURED), { ...query, clientIp: '10.0.0.7' });
    expect(rows.map(({ row, matched }) => [row, matched])).toEqual([
      ['loopback', false],
      ['outbound', false],
      ['not-in-mesh', false],
      ['outbound-listener', false],
      ['hbone', false],
      ['exempt', false],
      ['self', true],
    ]);
    expect(rows.at(-1)?.finding).toBe('from 10.0.0.7 to 10.0.0.7');
  });
});
