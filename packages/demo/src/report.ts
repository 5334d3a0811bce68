// Shows the rows: as they happen and as a final table, or as lines of JSON.
import Table from 'cli-table3';
import type { DemoOptions } from './options.js';
import type { Row } from './row.js';

export class Report {
  readonly #output: DemoOptions['output'];
  readonly #rows: Row[] = [];

  constructor(output: DemoOptions['output']) {
    this.#output = output;
  }

  /** Something worth knowing that is not a row; it is not in the JSON. */
  step(text: string): void {
    if (this.#output === 'table') process.stdout.write(`\n${text}\n`);
  }

  /** What a command printed; it is not in the JSON. */
  text(lines: readonly string[]): void {
    if (this.#output === 'table') process.stdout.write(`${lines.join('\n')}\n`);
  }

  row(row: Row): void {
    this.#rows.push(row);
    if (this.#output === 'json') {
      process.stdout.write(`${JSON.stringify(row)}\n`);
      return;
    }
    process.stdout.write(`  ${row.ok ? 'ok   ' : 'WRONG'} ${describe(row)}\n`);
    if (!row.ok) process.stdout.write(`        expected: ${row.expected}\n`);
  }

  /** The final table; true if every row is as it should be, and there is at least one. */
  finish(): boolean {
    const wrong = this.#rows.filter(({ ok }) => !ok).length;
    if (this.#output === 'table') {
      const table = new Table({
        head: [
          '',
          'what',
          'from',
          'to',
          'accepted by',
          'port',
          'original destination',
          'application sees',
          'answered by',
        ],
        style: { head: [], border: [], compact: true },
      });
      for (const row of this.#rows) {
        table.push([
          row.ok ? 'ok' : 'WRONG',
          row.what,
          row.from,
          row.to,
          row.acceptedBy,
          row.port ?? '',
          row.originalDst ?? '',
          row.peerSeen,
          row.answeredBy,
        ]);
      }
      process.stdout.write(`\n${table.toString()}\n\n${this.#rows.length} rows, ${wrong} wrong\n`);
    }
    return wrong === 0 && this.#rows.length > 0;
  }
}

function describe({ what, from, to, acceptedBy, port, originalDst, afterMs }: Row): string {
  const delay = afterMs === undefined ? '' : ` (after ${afterMs} ms)`;
  if (to === '-') return `${what}${delay}`;
  const at = port === undefined ? acceptedBy : `${acceptedBy} on ${port}`;
  const origin = originalDst === undefined ? '' : `, original destination ${originalDst}`;
  return `${what}: ${from} -> ${to}: ${at}${origin}${delay}`;
}
