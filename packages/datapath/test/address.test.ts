import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressText,
  addressWords,
  canonicalAddress,
  canonicalCidr,
  cidrContains,
  cidrText,
  cidrWords,
  isLoopback,
} from '../src/address.js';

describe('addresses', () => {
  it('lays an IPv4 address out as the fixed interface says: word 2 = 0xffff0000, word 3 = network order', () => {
    expect(addressWords('10.1.2.3')).toEqual([0, 0, 0xffff0000, 0x0302010a]);
  });

  it('un-maps IPv4-mapped addresses', () => {
    expect(canonicalAddress('::ffff:10.1.2.3')).toBe('10.1.2.3');
    expect(canonicalAddress('FD66::0:1')).toBe('fd66::1');
  });

  it('round-trips every address through its words', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const canonical = canonicalAddress(text);
        fc.pre(canonical !== '::');
        expect(addressText(addressWords(text))).toBe(canonical);
      }),
    );
  });

  it.each([
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['128.0.0.1', false],
    ['0.0.0.0', true],
    ['0.0.0.1', false],
    ['::1', true],
    ['::', true],
    ['::2', false],
  ])('%s is loopback: %s', (address, expected) => {
    expect(isLoopback(address)).toBe(expected);
  });

  it('keeps ranges of the two families apart', () => {
    expect(cidrContains('10.0.0.0/8', '10.200.0.1')).toBe(true);
    expect(cidrContains('::/0', '10.200.0.1')).toBe(false);
    expect(cidrContains('0.0.0.0/0', 'fd66::1')).toBe(false);
    expect(cidrContains('::ffff:10.0.0.0/104', '10.200.0.1')).toBe(true);
  });

  it('cuts a range to its network', () => {
    expect(canonicalCidr('10.1.2.3/8')).toBe('10.0.0.0/8');
    expect(canonicalCidr('fd66::1/64')).toBe('fd66::/64');
    expect(() => canonicalCidr('10.1.2.3/33')).toThrow();
    expect(() => canonicalCidr('10.1.2.3')).toThrow();
  });

  it('round-trips every range through its words', () => {
    const v4 = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 }));
    const v6 = fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 }));
    fc.assert(
      fc.property(fc.oneof(v4, v6), ([address, length]) => {
        const mapped = canonicalAddress(address) !== address && address.includes('.') && address.includes(':');
        fc.pre(!mapped);
        const cidr = canonicalCidr(`${address}/${length}`);
        const { words, prefixLength } = cidrWords(cidr);
        expect(cidrText(words, prefixLength)).toBe(cidr);
      }),
    );
  });
});
