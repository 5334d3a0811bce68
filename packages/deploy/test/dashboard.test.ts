// The Grafana dashboard asks only for metrics that the agent exports.
import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { repositoryPath } from '../src/index.js';
import { dashboardMetrics } from './dashboard-metrics.js';

const dashboard = JSON.parse(readFileSync(repositoryPath('deploy/grafana/sluice.json'), 'utf8')) as {
  panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[];
};

/** The agent makes every metric in one directory, where its name is written. */
const exported = new Set(
  readdirSync(repositoryPath('packages/ambient-agent/src/observe'))
    .map((file) => readFileSync(repositoryPath(`packages/ambient-agent/src/observe/${file}`), 'utf8'))
    .flatMap((text) => [...text.matchAll(/Metric\.\w+\(\s*'([a-z_]+)'/g)].map(([, name]) => name ?? '')),
);

describe('deploy/grafana/sluice.json', () => {
  it('asks for metrics that exist', () => {
    expect(exported.size).toBeGreaterThan(10);
    expect([...dashboardMetrics(dashboard)].filter((name) => !exported.has(name))).toEqual([]);
  });

  it('shows how pods are captured, and counts every reason for which the datapath refuses', () => {
    const text = JSON.stringify(dashboard);
    expect([...dashboardMetrics(dashboard)]).toContain('sluice_captured_workloads');
    for (const reason of ['pending', 'no-ztunnel', 'unprepared', 'unknown']) expect(text).toContain(reason);
  });

  it('shows why pods are not served, for how long, and what is missing', () => {
    for (const name of [
      'sluice_pods',
      'sluice_oldest_mismatch_seconds',
      'sluice_missing',
      'sluice_repairs_total',
      'sluice_guard',
      'sluice_unseen_pods_total',
    ])
      expect([...dashboardMetrics(dashboard)]).toContain(name);
  });

  it('has panels that do not overlap, each with a number of its own', () => {
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(dashboard.panels.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
  });

  it('reads only names of metrics out of queries', () => {
    const nested = {
      panels: [{ title: 'sluice_title', targets: [{ expr: 'rate(sluice_a_total{x="y"}[5m]) / ztunnel_b' }] }],
    };
    expect([...dashboardMetrics(nested)]).toEqual(['sluice_a_total', 'ztunnel_b']);
  });
});
