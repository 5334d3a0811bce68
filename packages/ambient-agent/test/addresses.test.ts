// Who owns an address: who holds it, whatever objects say.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressOwners, heldAddress, type AddressClaim } from '../src/enrolment/addresses.js';
import { pod } from './world.js';

const claim = (uid: string, cookie: bigint | undefined, over: Partial<AddressClaim> = {}): AddressClaim => ({
  pod: pod(uid),
  cookie,
  held: [],
  isEstablished: false,
  ...over,
});

describe('the owner of an address', () => {
  it('has those that it holds of a family of which the API names none, up to a limit, and no others', () => {
    const eks = claim('a', 7n, {
      pod: pod('a', { ips: ['fd00::2'] }),
      held: ['fd00::9', 'fd00::2', '169.254.172.5', '10.9.9.9', '10.9.9.8', '10.9.9.7', '10.9.9.6'].map(heldAddress),
    });
    const own = ['fd00::2', '10.9.9.6', '10.9.9.7', '10.9.9.8', '10.9.9.9'];
    expect(addressOwners([eks], false)(eks.pod)).toEqual({ own, lost: [], absent: [] });
    expect(addressOwners([eks], true)(eks.pod).own).toEqual(['fd00::2']);
  });

  it('has none that is tentative or of a narrower scope', () => {
    const late = claim('a', 7n, {
      held: [
        { ...heldAddress('fd00::2'), tentative: true },
        { ...heldAddress('fe80::1'), scope: 'link' },
      ],
    });
    expect(addressOwners([late], false)(late.pod).own).toEqual([]);
  });

  it('is told what the API reports and nobody holds', () => {
    const one = claim('a', 7n, { pod: pod('a', { ips: ['10.0.0.9'] }), held: [heldAddress('10.0.0.2')] });
    expect(addressOwners([one], false)(one.pod)).toEqual({ own: ['10.0.0.2'], lost: [], absent: ['10.0.0.9'] });
  });

  const pool = ['10.0.0.1', '10.0.0.2', '10.0.0.3', 'fd00::1', 'fd00::2'];
  const addresses = fc.uniqueArray(fc.constantFrom(...pool), { maxLength: 3 });
  const claims = fc
    .array(
      fc.record({
        ips: addresses,
        held: addresses,
        isKnown: fc.boolean(),
        isEstablished: fc.boolean(),
        bornMs: fc.nat({ max: 3 }),
      }),
      { minLength: 1, maxLength: 5 },
    )
    .map((all) =>
      all.map(({ ips, held: holds, isKnown, isEstablished, bornMs }, index) =>
        claim(`p${index}`, isKnown ? BigInt(index + 5) : undefined, {
          pod: pod(`p${index}`, { ips, bornMs }),
          held: isKnown ? holds.map(heldAddress) : [],
          isEstablished: isKnown && isEstablished,
        }),
      ),
    );

  it('is one pod, holds it, and does not lose it to whoever claims it later, in any order', () => {
    fc.assert(
      fc.property(claims, fc.boolean(), (all, trustsApi) => {
        const owners = addressOwners(all, trustsApi);
        const owned = all.flatMap(({ pod: one }) => owners(one).own.map((ip) => [ip, one.uid] as const));
        expect(new Set(owned.map(([ip]) => ip)).size).toBe(owned.length);
        const back = addressOwners(all.toReversed(), trustsApi);
        for (const { pod: one, held: holds, cookie } of all) {
          const { own, lost } = owners(one);
          expect(back(one)).toEqual(owners(one));
          if (!trustsApi || cookie !== undefined)
            for (const ip of own) expect(holds.map(({ address }) => address)).toContain(ip);
          for (const { ip, to } of lost) expect(owners(to).own).toContain(ip);
        }
        // Another claim on an address that an established pod holds and the API names takes it from nobody.
        for (const { pod: one, cookie, isEstablished, held: holds } of all) {
          const mine = owners(one).own.filter((ip) => isEstablished && one.ips.includes(ip));
          const thief = claim('thief', (cookie ?? 0n) + 1000n, {
            pod: pod('thief', { ips: mine, bornMs: 99 }),
            held: holds,
          });
          expect(addressOwners([...all, thief], trustsApi)(one).own).toEqual(expect.arrayContaining(mine));
        }
      }),
    );
  });
});
