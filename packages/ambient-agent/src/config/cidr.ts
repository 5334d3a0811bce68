// Ranges of addresses, as people write them.
import { isIP } from 'node:net';
import { canonicalCidr } from '@sluice/datapath';

/** A range, or one address, as canonical text; undefined when it is neither. Pure. */
export function rangeOf(text: string): string | undefined {
  const family = isIP(text);
  try {
    return canonicalCidr(family === 0 ? text : `${text}/${family === 4 ? 32 : 128}`);
  } catch {
    return undefined;
  }
}
