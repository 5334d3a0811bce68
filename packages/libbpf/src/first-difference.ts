// Where two texts differ, shown as in a diff.

const CONTEXT = 2;
const SHOWN = 4;

/** undefined when equal; else the first differing lines with some context. `before` undefined = there is no file. */
export function firstDifference(before: string | undefined, after: string): string | undefined {
  if (before === after) return undefined;
  if (before === undefined) return 'There is no such file yet.';
  const old = before.split('\n');
  const fresh = after.split('\n');
  let at = 0;
  while (at < old.length && at < fresh.length && old[at] === fresh[at]) at++;
  return [
    `@@ line ${at + 1} @@`,
    ...old.slice(Math.max(0, at - CONTEXT), at).map((line) => ` ${line}`),
    ...old.slice(at, at + SHOWN).map((line) => `-${line}`),
    ...fresh.slice(at, at + SHOWN).map((line) => `+${line}`),
  ].join('\n');
}
