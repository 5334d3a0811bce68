// How long the programs are, and how long one run of each takes.
import { LineProcess, peerProgram } from '@sluice/testbed';
import { readLinks, readNetnsLinks } from '@sluice/datapath';
import { programInfo } from '@sluice/libbpf';

/** Every program that is attached, by name and id; each namespace has its own instance of the inbound program. */
function attached(pinDirectory) {
  const links = [...readLinks(pinDirectory), ...readNetnsLinks(pinDirectory)].flatMap(({ link }) => link ?? []);
  return new Map(links.map(({ programId }) => [programId, programInfo(programId)]));
}

/** What `work` makes the programs do: runs, and nanoseconds a run, by name. Those that do not run are left out. */
export async function runsDuring(pinDirectory, work) {
  const counting = await LineProcess.start([peerProgram(), 'bpf-stats']);
  await counting.lineMatching(/^ready$/);
  const before = attached(pinDirectory);
  await work();
  const after = attached(pinDirectory);
  await counting.stop();
  const sums = new Map();
  for (const [id, { name, runs, runTimeNs }] of after) {
    const sum = sums.get(name) ?? { runs: 0, ns: 0 };
    sum.runs += Number(runs - before.get(id).runs);
    sum.ns += Number(runTimeNs - before.get(id).runTimeNs);
    sums.set(name, sum);
  }
  return Object.fromEntries(
    [...sums].filter(([, { runs }]) => runs > 0).map(([name, { runs, ns }]) => [name, { runs, nsPerRun: ns / runs }]),
  );
}

/** Instructions after the verifier, and how many the verifier walked, by name. */
export function lengths(pinDirectory) {
  return Object.fromEntries(
    [...attached(pinDirectory).values()].map(({ name, instructionBytes, verifiedInstructions }) => [
      name,
      { instructions: instructionBytes / 8, verified: verifiedInstructions },
    ]),
  );
}
