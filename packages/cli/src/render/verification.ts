// Prints for people what `sluice status --verify` found: each difference with both sides and the remedy, kind by kind.
import type { Difference, Verification } from '@sluice/ambient-agent';

const headings: Readonly<Record<Difference['kind'], string>> = {
  place: 'cgroups, namespaces, directories',
  map: 'maps',
  link: 'links',
  rule: 'rules in network namespaces of pods',
  listener: "ztunnel's listeners",
};

/** Pure. */
export function renderVerification({ differences, unchecked, compared, looks, isSettled }: Verification): string {
  const { entries, programs, networkNamespaces } = compared;
  const what = `${entries} map entries, ${programs} programs, ${networkNamespaces} network namespaces`;
  const count = differences.length;
  const result = count === 0 ? 'no difference' : count === 1 ? '1 difference' : `${count} differences`;
  const unsettled = isSettled
    ? []
    : [`warning: the agent’s state changed under each of ${looks} looks; shown is what differed in the last two`];
  return [
    ...unsettled,
    ...unchecked.map((text) => `warning: not compared: ${text}`),
    `verify    ${result} between what the agent says and the kernel (${what})`,
    ...differences.flatMap((difference, index) => [
      ...(difference.kind === differences[index - 1]?.kind ? [] : ['', headings[difference.kind]]),
      `  ${difference.object}`,
      `    agent   ${difference.agent}`,
      `    kernel  ${difference.kernel}`,
      `    remedy  ${difference.remedy}`,
    ]),
  ].join('\n');
}
