// Measures what the capture of a pod's connections costs, against its rivals in one interleaved run: see docs/performance.md.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { lengths, runsDuring } from './programs.mjs';
import { RIVALS, Rivals } from './rivals.mjs';
import { overRounds, quantile } from './statistics.mjs';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '31' },
    connects: { type: 'string', default: '300' },
    trips: { type: 'string', default: '2000' },
    family: { type: 'string', default: '4' },
    out: { type: 'string' },
  },
});
const [rounds, connects, trips] = [values.rounds, values.connects, values.trips].map(Number);
const family = Number(values.family);
/** Of the run in which the programs are counted: the counting itself costs something. */
const COUNTED_CONNECTS = 2000;
/** Thrown away at the start of each rival's turn. */
const WARM_UP = 20;

const say = (line = '') => process.stdout.write(`${line}\n`);
const range = ({ median, from, to }, digits = 2) =>
  `${median.toFixed(digits)} (${from.toFixed(digits)} to ${to.toFixed(digits)})`;

function table(head, rows) {
  const widths = head.map((cell, n) => Math.max(cell.length, ...rows.map((row) => String(row[n]).length)));
  const line = (row) => `| ${row.map((cell, n) => String(cell).padEnd(widths[n])).join(' | ')} |`;
  say(line(head));
  say(`| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
  for (const row of rows) say(line(row));
  say();
}

const rivals = await Rivals.create();
/** Of each rival, one entry a round. */
const samples = Object.fromEntries(RIVALS.map((rival) => [rival, { connects: [], trips: [] }]));
const counted = {};
let programLengths;
try {
  for (let round = 0; round < rounds; round++)
    for (let n = 0; n < RIVALS.length; n++) {
      // Every rival follows every other one equally often.
      const rival = RIVALS[(n * (1 + (round % (RIVALS.length - 1))) + round) % RIVALS.length];
      await rivals.connects(rival, family, WARM_UP);
      samples[rival].connects.push(await rivals.connects(rival, family, connects));
      samples[rival].trips.push(await rivals.trips(rival, family, trips));
    }
  for (const rival of ['outside', 'rewrite', 'route'])
    counted[rival] = await runsDuring(rivals.pinDirectory, () => rivals.connects(rival, family, COUNTED_CONNECTS));
  programLengths = lengths(rivals.pinDirectory);
} finally {
  await rivals.close();
}

const machine = { kernel: release(), cpu: cpus()[0].model, cores: cpus().length, at: new Date().toISOString() };
if (values.out !== undefined) {
  mkdirSync(values.out, { recursive: true });
  const settings = { rounds, connects, trips, family };
  writeFileSync(join(values.out, 'samples.json'), JSON.stringify({ machine, settings, samples }));
  writeFileSync(
    join(values.out, 'programs.json'),
    JSON.stringify({ machine, settings, counted, programLengths }, null, 2),
  );
}

const perRound = (rival, what, q) => samples[rival][what].map(({ ns }) => quantile(ns, q));
const load = readFileSync('/proc/loadavg', 'utf8').split(' ')[0];
say(`Linux ${machine.kernel}, ${machine.cores} x ${machine.cpu}, load ${load}; IPv${family}, ${rounds} rounds`);
say(`The median over the rounds, and in brackets the range of the middle half of them.`);
say();

say(`connect(), ${connects} a round, in us; a whole connection is connect(), a line of the server and close().`);
table(
  ['rival', 'p50', 'p90', 'connections/s'],
  RIVALS.map((rival) => [
    rival,
    ...[0.5, 0.9].map((q) => range(overRounds(perRound(rival, 'connects', q).map((ns) => ns / 1000)))),
    range(overRounds(samples[rival].connects.map(({ totalNs }) => (connects / totalNs) * 1e9)), 0),
  ]),
);

// Within one round the machine is the same for all, so that ratios are made there.
const added = (rival, q) =>
  perRound(rival, 'connects', q).map((ns, round) => ns - perRound('bare', 'connects', q)[round]);
say('What a rival adds to the bare connect(), in us, and as a part of what iptables adds:');
table(
  ['rival', 'added p50', 'added p90', 'p50 to iptables', 'p90 to iptables'],
  RIVALS.filter((rival) => rival !== 'bare').map((rival) => [
    rival,
    ...[0.5, 0.9].map((q) => range(overRounds(added(rival, q).map((ns) => ns / 1000)))),
    ...[0.5, 0.9].map((q) => {
      const rival_ = added(rival, q);
      const iptables = added('iptables', q);
      return range(overRounds(rival_.map((ns, round) => ns / iptables[round])));
    }),
  ]),
);

say(`A byte there and back on an established connection, ${trips} a round, in us:`);
table(
  ['rival', 'p50', 'p90', 'p50 to bare'],
  RIVALS.map((rival) => [
    rival,
    ...[0.5, 0.9].map((q) => range(overRounds(perRound(rival, 'trips', q).map((ns) => ns / 1000)))),
    range(overRounds(perRound(rival, 'trips', 0.5).map((ns, round) => ns / perRound('bare', 'trips', 0.5)[round]))),
  ]),
);

say(`The programs: what runs for one connection of each kind (${COUNTED_CONNECTS} connections, in another run).`);
table(
  ['rival', 'program', 'runs per connection', 'ns a run'],
  Object.entries(counted).flatMap(([rival, programs]) =>
    Object.entries(programs).map(([name, { runs, nsPerRun }]) => [
      rival,
      name,
      (runs / COUNTED_CONNECTS).toFixed(2),
      nsPerRun.toFixed(0),
    ]),
  ),
);
table(
  ['program', 'instructions', 'walked by the verifier'],
  Object.entries(programLengths).map(([name, { instructions, verified }]) => [name, instructions, verified]),
);
