// Reads ranges of addresses as people write them.
import { isIP } from 'node:net';
import { canonicalCidr } from '@sluice/datapath';

/** The canonical text of a range or one address; undefined if the text is neither. Pure. */
export function rangeOf(text: string): string | undefined {
  const family = isIP(text);
  try {
    return canonicalCidr(family === 0 ? text : `${text}/${family === 4 ? 32 : 128}`);
  } catch {
    return undefined;
  }
}
