// Decoding of batches that are not well-formed, and the loader's types at their edges.
import { describe, expect, it } from 'vitest';
import { ProcEventBatch } from '../src/index.js';

describe('ProcEventBatch', () => {
  it('refuses a buffer that is not whole records', () => {
    expect(() => new ProcEventBatch(new ArrayBuffer(65))).toThrow('65 bytes is not a whole number of 64-byte records');
  });

  it('refuses an index outside of it', () => {
    const batch = new ProcEventBatch(new ArrayBuffer(64));
    for (const index of [-1, 1]) expect(() => batch.pid(index)).toThrow(`no event ${index} in a batch of 1`);
  });

  it('refuses a kind it does not know', () => {
    expect(() => new ProcEventBatch(new ArrayBuffer(64)).at(0)).toThrow('record 0 has the unknown kind 0x0');
  });
});
