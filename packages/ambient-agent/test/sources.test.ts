// Which of a namespace's addresses captured connections come from.
import type { InterfaceAddress } from '@sluice/linux';
import { describe, expect, it } from 'vitest';
import { sourceOf } from '../src/pod-netns/sources.js';

const held = (address: string, over: Partial<InterfaceAddress> = {}): InterfaceAddress => ({
  ifindex: 2,
  name: 'eth0',
  family: address.includes(':') ? 6 : 4,
  address,
  prefixLength: 24,
  scope: 'global',
  deprecated: false,
  tentative: false,
  ...over,
});

describe('the source of captured connections', () => {
  it.each<[string, InterfaceAddress[], string[], string | undefined]>([
    ['the first Pod IP that is held', [held('10.0.0.9'), held('10.0.0.2')], ['10.0.0.1', '10.0.0.2'], '10.0.0.2'],
    [
      'a Pod IP even if it is deprecated',
      [held('10.0.0.9'), held('10.0.0.2', { deprecated: true })],
      ['10.0.0.2'],
      '10.0.0.2',
    ],
    ['else the first global address', [held('10.0.0.9'), held('10.0.0.8')], ['10.0.0.2'], '10.0.0.9'],
    ['no deprecated one', [held('10.0.0.9', { deprecated: true }), held('10.0.0.8')], [], '10.0.0.8'],
    [
      'none of a narrower scope',
      [held('127.0.0.1', { scope: 'host' }), held('169.254.0.1', { scope: 'link' })],
      [],
      undefined,
    ],
    ['none of the other family', [held('fd00::2')], ['fd00::2'], undefined],
    ['none of nothing', [], ['10.0.0.2'], undefined],
  ])('is %s', (_, addresses, podIps, source) => {
    expect(sourceOf(4, addresses, podIps)).toBe(source);
  });

  it('is no IPv6 address whose owner is not known yet, and a Pod IP in whatever text', () => {
    const addresses = [held('fd00::2', { tentative: true }), held('fd00::3')];
    expect(sourceOf(6, addresses, ['fd00::2'])).toBe('fd00::3');
    expect(sourceOf(6, [held('fd00::9'), held('fd00::2')], ['10.0.0.1', 'FD00:0:0::2'])).toBe('fd00::2');
  });
});
