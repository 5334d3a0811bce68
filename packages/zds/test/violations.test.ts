// Everything that a peer can do wrong: the server counts it, reports it, closes that connection, and goes on serving others.
import { closeSync, openSync } from 'node:fs';
import type { SeqpacketConnection, SeqpacketPacket } from '@sluice/linux';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEADLINE_MS, harness, stopTheClock, workload } from './harness.js';
import { ackBytes, helloBytes } from './zds-client.js';

const test = harness();

async function expectClosed(peer: SeqpacketConnection): Promise<void> {
  for (;;) {
    let packet: SeqpacketPacket | undefined;
    try {
      packet = await peer.receive({ maxFds: 1 });
    } catch (error) {
      // The server closed before it had read everything of ours.
      expect(error).toMatchObject({ code: 'ECONNRESET' });
      return;
    }
    if (packet === undefined) return;
    packet.close();
  }
}

/** The server still works: a well-behaved ztunnel gets everything. */
async function expectServing(): Promise<void> {
  const client = await test.client().until((c) => c.ready);
  expect(client.workloads.has('a')).toBe(true);
}

describe('before Hello', () => {
  it.each([
    ['another version', helloBytes(2), 'Hello of version 2; this server speaks version 1'],
    ['no version', helloBytes(0), 'Hello of version 0; this server speaks version 1'],
    ['an empty packet', Buffer.alloc(0), 'Hello of version 0; this server speaks version 1'],
    ['garbage', Buffer.from('ffffffffff', 'hex'), 'the first packet is no ZdsHello'],
    ['something cut short', Buffer.from([0x08]), 'the first packet is no ZdsHello'],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'the first packet is no ZdsHello'],
    ['an answer', ackBytes('hello'), 'the first packet is no ZdsHello'],
    ['a packet that is too long', Buffer.alloc(1025), 'a packet of more than 1024 bytes'],
    ['a packet of 64 KiB', Buffer.alloc(65_536, 8), 'a packet of more than 1024 bytes'],
  ])('%s ends the connection', async (_, bytes, reason) => {
    const server = test.serve([workload('a')]);
    const peer = test.rude();
    await peer.send(bytes);
    expect(await test.event('protocolViolation')).toMatchObject({ reason, peer: { pid: process.pid } });
    await expectClosed(peer);
    expect(server.metrics()).toMatchObject({ protocolViolations: 1, connections: 0, addsSent: 0 });
    await expectServing();
  });

  it('silence ends the connection', async () => {
    const clock = stopTheClock();
    const server = test.serve([workload('a')]);
    const peer = test.rude();
    await clock.missDeadline();
    expect(await test.event('disconnected')).toMatchObject({
      reason: 'deadline',
      detail: `Hello: no answer in ${DEADLINE_MS} ms`,
    });
    await expectClosed(peer);
    expect(server.metrics()).toMatchObject({ deadlinesMissed: 1, protocolViolations: 0 });
    await expectServing();
  });

  it('a half-close, and leaving at once, are noticed', async () => {
    const server = test.serve([workload('a')]);
    const half = test.rude();
    half.endSending();
    await test.event('disconnected', ({ connection }) => connection === 1);
    await expectClosed(half);
    test.rude().close();
    await test.event('disconnected', ({ connection }) => connection === 2);
    expect(server.metrics().protocolViolations).toBe(0);
    await expectServing();
  });

  it('descriptors with Hello end the connection, and none stays here', async () => {
    test.serve([workload('a')]);
    const peer = test.rude();
    const file = openSync('/dev/null', 'r');
    await peer.send(
      helloBytes(),
      Array.from({ length: 253 }, () => file),
    );
    closeSync(file);
    expect(await test.event('protocolViolation')).toMatchObject({ reason: 'a packet with file descriptors' });
    await expectServing();
  });
});

describe('after Hello', () => {
  /** A peer that has said Hello, and has one request that it has not answered. */
  async function asked(): Promise<SeqpacketConnection> {
    test.serve([workload('a')]);
    const peer = test.rude();
    await peer.send(helloBytes());
    (await peer.receive({ maxFds: 1 }))?.close();
    return peer;
  }

  it.each([
    ['garbage', Buffer.from('ff00ff00', 'hex'), 'a packet that is no WorkloadResponse'],
    ['an empty packet', Buffer.alloc(0), 'a WorkloadResponse without an Ack'],
    ['another message', Buffer.from([0x52, 0x00]), 'a WorkloadResponse without an Ack'],
    [
      'an error that is no UTF-8',
      Buffer.from([0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe]),
      'a packet that is no WorkloadResponse',
    ],
    ['a packet that is too long', ackBytes('x'.repeat(2000)), 'a packet of more than 1024 bytes'],
  ])('%s instead of an answer ends the connection', async (_, bytes, reason) => {
    const peer = await asked();
    await peer.send(bytes);
    expect(await test.event('protocolViolation')).toMatchObject({ reason });
    await expectClosed(peer);
    await expectServing();
  });

  it('descriptors with an answer end the connection', async () => {
    const peer = await asked();
    const file = openSync('/dev/null', 'r');
    await peer.send(ackBytes(), [file]);
    closeSync(file);
    expect(await test.event('protocolViolation')).toMatchObject({ reason: 'a packet with file descriptors' });
    await expectServing();
  });

  it('two answers to one request end the connection: the second is not taken for the next one’s', async () => {
    test.serve([workload('a'), workload('b')]);
    const peer = test.rude();
    await peer.send(helloBytes());
    (await peer.receive({ maxFds: 1 }))?.close();
    await Promise.all([peer.send(ackBytes()), peer.send(ackBytes())]);
    expect(await test.event('protocolViolation')).toMatchObject({ reason: 'a packet that nothing asked for' });
    await expectClosed(peer);
    await expectServing();
  });

  it('an answer to nothing ends the connection', async () => {
    test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    await test.event('synced');
    await client.connection.send(ackBytes());
    expect(await test.event('protocolViolation')).toMatchObject({ reason: 'a packet that nothing asked for' });
    await expectServing();
  });

  it('a second Hello ends the connection', async () => {
    test.serve([workload('a')]);
    const peer = test.rude();
    await Promise.all([peer.send(helloBytes()), peer.send(helloBytes())]);
    await test.event('protocolViolation');
    await expectClosed(peer);
    await expectServing();
  });

  it('no answer ends the connection, and the workload is not acknowledged', async () => {
    const clock = stopTheClock();
    const peer = await asked();
    await clock.missDeadline();
    expect(await test.event('disconnected')).toMatchObject({
      reason: 'deadline',
      detail: `add a: no answer in ${DEADLINE_MS} ms`,
    });
    await expectClosed(peer);
    await expectServing();
  });

  it('a half-close ends the connection', async () => {
    const peer = await asked();
    peer.endSending();
    expect(await test.event('disconnected')).toMatchObject({ reason: 'peer-closed' });
    await expectClosed(peer);
    await expectServing();
  });

  it('a peer that floods is closed at its first packet too many, and others are served meanwhile', async () => {
    test.serve([workload('a')]);
    const peer = test.rude();
    const flood = Promise.allSettled([
      peer.send(helloBytes()),
      ...Array.from({ length: 3000 }, () => peer.send(ackBytes('x'.repeat(900)))),
    ]);
    await expectServing();
    await test.event('protocolViolation', ({ connection }) => connection === 1);
    await flood;
  });

  it('no exception leaves the server, whatever comes', async () => {
    const server = test.serve([workload('a')], { maxConnections: 1000, acceptsPerSecond: 1e6 });
    const packets = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(packets, fc.boolean(), async (list, polite) => {
        const peer = test.rude();
        if (polite) await peer.send(helloBytes());
        for (const packet of list) await peer.send(packet).catch(() => undefined);
        peer.endSending();
        await expectClosed(peer);
      }),
      { numRuns: 200 },
    );
    await expectServing();
    expect(server.metrics().connectionsAccepted).toBeGreaterThan(200);
  });
});
