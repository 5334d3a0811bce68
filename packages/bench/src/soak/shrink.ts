// Makes a list that fails shorter, as long as it still fails.

/**
 * Leaves out parts, from halves down to single items, and keeps what still fails. `fails` is called at least once for each
 * length of a part, and not after it says that there is no time left, by undefined.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (items: readonly T[]) => Promise<boolean | undefined>,
): Promise<readonly T[]> {
  let kept = items;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2))
    for (let at = 0; at < kept.length;) {
      const shorter = [...kept.slice(0, at), ...kept.slice(at + size)];
      const answer = shorter.length === 0 ? false : await fails(shorter);
      if (answer === undefined) return kept;
      if (answer) kept = shorter;
      else at += size;
    }
  return kept;
}
