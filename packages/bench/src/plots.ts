// Drawings of distributions, as SVG files that stand by themselves.
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

export interface Distribution {
  readonly title: string;
  readonly subtitle: string;
  /** What the values are, with their unit. */
  readonly label: string;
  readonly values: readonly number[];
  /** Values to be named in the drawing. */
  readonly marked: Readonly<Record<string, number>>;
}

const WIDTH = 720;
const HEIGHT = 420;
const MARGIN_TOP = 56;
/** On a logarithmic axis there is no zero. */
const LEAST = 0.01;
/** Where the first name of a marked value stands, in per cent of the height, and how much lower each further one. */
const TOP_NAME = 60;
const NAME_STEP = 8;
/** More would only make the file larger. */
const POINTS = 500;

/** The share of the values that a value is not exceeded by, over a logarithmic axis. Pure. */
export function distributionSvg({ title, subtitle, label, values, marked }: Distribution): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const sorted = values.map((value) => Math.max(value, LEAST)).toSorted((a, b) => a - b);
  const points = Math.min(POINTS, sorted.length);
  const steps = Array.from({ length: points }, (_, n) => {
    const upTo = Math.round(((n + 1) / points) * sorted.length);
    return { value: sorted[upTo - 1] ?? LEAST, share: (upTo / sorted.length) * 100 };
  });
  const named = Object.entries(marked).map(([name, value], n) => ({
    value: Math.max(value, LEAST),
    height: TOP_NAME - n * NAME_STEP,
    name: `${name} ${value.toLocaleString('en', { maximumSignificantDigits: 3 })}`,
  }));
  const drawing = Plot.plot({
    document,
    width: WIDTH,
    height: HEIGHT,
    marginTop: MARGIN_TOP,
    marginLeft: 56,
    marginRight: 24,
    x: { type: 'log', label, grid: true, nice: true },
    y: { label: 'share, %', labelAnchor: 'center', domain: [0, 100], grid: true },
    marks: [
      Plot.ruleY([0]),
      Plot.lineY(steps, { x: 'value', y: 'share', curve: 'step-after', strokeWidth: 2 }),
      Plot.ruleX(named, { x: 'value', strokeDasharray: '3 3' }),
      Plot.text(named, {
        x: 'value',
        y: 'height',
        text: 'name',
        textAnchor: 'end',
        dx: -6,
        fill: 'black',
        stroke: 'white',
      }),
      Plot.text([title], { frameAnchor: 'top-left', dy: -44, fontSize: 14, fontWeight: 'bold' }),
      Plot.text([subtitle], { frameAnchor: 'top-left', dy: -24 }),
    ],
  });
  drawing.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  drawing.setAttribute('style', 'background: white');
  return `${drawing.outerHTML}\n`;
}
