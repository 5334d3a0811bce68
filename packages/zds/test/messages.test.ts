// Messages as bytes: every request survives a round trip, anything at all is decoded without an exception, and the generated
// code matches the .proto.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backOffMs } from '../src/back-off.js';
import { WorkloadRequestSchema } from '../src/generated/zds_pb.js';
import { decodeHello, decodeResponse, encodeRequest, longestMessage } from '../src/messages.js';
import { ackBytes, helloBytes } from './zds-client.js';

const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const text = fc.string({ unit: 'grapheme', maxLength: 60 });

describe('requests', () => {
  it("have the protocol's field numbers", () => {
    const identity = { name: 'n', namespace: 's', serviceAccount: 'a' };
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    // 0a: field 1, length-delimited (add); in it 0a = uid, 12 = workload_info; in that 0a, 12, 1a.
    expect(hex(encodeRequest({ kind: 'add', uid: 'u', identity }))).toBe('0a0e0a017512090a016e1201731a0161');
    // 12: field 2 (del), and in it 12 again: its uid is field 2.
    expect(hex(encodeRequest({ kind: 'del', uid: 'u' }))).toBe('1203120175');
    expect(hex(encodeRequest({ kind: 'snapshot' }))).toBe('1a00');
    // 2a: field 5 (keep).
    expect(hex(encodeRequest({ kind: 'keep', uid: 'u' }))).toBe('2a030a0175');
    expect(hex(helloBytes())).toBe('0801');
    expect(hex(ackBytes('no'))).toBe('0a040a026e6f');
    expect(hex(ackBytes())).toBe('0a00');
  });

  it('survive a round trip, or are refused for their length', () => {
    const identity = fc.record({ name: text, namespace: text, serviceAccount: text });
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), identity, (uid, who) => {
        const bytes = ((): Uint8Array | undefined => {
          try {
            return encodeRequest({ kind: 'add', uid, identity: who });
          } catch (error) {
            expect(error).toMatchObject({ code: 'message-too-long' });
            return undefined;
          }
        })();
        if (bytes === undefined) return;
        expect(bytes.length).toBeLessThanOrEqual(longestMessage);
        const { payload } = fromBinary(WorkloadRequestSchema, bytes);
        expect(payload).toMatchObject({ case: 'add', value: { uid, workloadInfo: who } });
      }),
    );
  });

  it('of exactly 1024 bytes pass, and of 1025 do not', () => {
    const identity = { name: '', namespace: 'n'.repeat(200), serviceAccount: 'a'.repeat(200) };
    const sizeWith = (length: number): number =>
      encodeRequest({ kind: 'add', uid: 'u', identity: { ...identity, name: 'x'.repeat(length) } }).length;
    let longest = 600;
    while (sizeWith(longest) < longestMessage) longest++;
    expect(sizeWith(longest)).toBe(longestMessage);
    expect(() => sizeWith(longest + 1)).toThrow('1025 bytes');
  });
});

describe('what a peer sends', () => {
  it('is decoded or found to be wrong, and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: longestMessage }), (bytes) => {
        for (const decoded of [decodeHello(bytes), decodeResponse(bytes)])
          expect('violation' in decoded ? decoded.violation : decoded.value).toBeTypeOf('string');
      }),
      { numRuns: 2000 },
    );
  });

  it('accepts with an empty error, and refuses with any other', () => {
    fc.assert(
      fc.property(text, (error) => {
        const decoded = decodeResponse(ackBytes(error));
        const value = 'value' in decoded ? decoded.value : undefined;
        expect(value === '').toBe(error === '');
        expect(value).not.toMatch(/\p{Cc}/u);
      }),
    );
  });

  it('may have fields that are not known yet', () => {
    expect(decodeHello(Buffer.concat([helloBytes(), Buffer.from([0x50, 0x07])]))).toEqual({ value: 'V1' });
    expect(decodeResponse(Buffer.concat([ackBytes('no'), Buffer.from([0x50, 0x07])]))).toEqual({ value: 'no' });
  });
});

describe('the back-off', () => {
  it('grows to its cap, and at least half of it is waited', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (refusals, random) => {
          const ms = backOffMs({ baseMs: 100, capMs: 5000 }, refusals, random);
          const full = Math.min(5000, 100 * 2 ** (refusals - 1));
          expect(ms).toBeGreaterThanOrEqual(full / 2);
          expect(ms).toBeLessThan(full);
        },
      ),
    );
  });
});

const protoc = ((): string | undefined => {
  try {
    return execFileSync('protoc', ['--version'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
})();

describe.skipIf(protoc === undefined)(
  `the generated code${protoc === undefined ? ' [skipped: needs protoc]' : ''}`,
  () => {
    it('is what the generator makes of the .proto', () => {
      const out = mkdtempSync(join(tmpdir(), 'sluice-protoc-'));
      try {
        const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as {
          scripts: { generate: string };
        };
        const words = scripts.generate.replace('--es_out=src/generated', `--es_out=${out}`).split(' ');
        execFileSync(words[0] ?? '', words.slice(1), { cwd: packageRoot });
        const made = readFileSync(join(out, 'zds_pb.ts'), 'utf8');
        expect(readFileSync(join(packageRoot, 'src/generated/zds_pb.ts'), 'utf8')).toBe(made);
      } finally {
        rmSync(out, { recursive: true, force: true });
      }
    });
  },
);
