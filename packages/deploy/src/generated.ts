// The files of the repository that are made from others, and what they ought to hold.
import { readFileSync } from 'node:fs';
import { settings } from '@sluice/ambient-agent';
import * as Schema from 'effect/Schema';
import { format, resolveConfig } from 'prettier';
import { helmPath, renderChart } from './chart.js';
import { configurationReference } from './configuration-reference.js';
import { repositoryPath } from './repository.js';

export interface GeneratedFile {
  /** Relative to the repository. */
  readonly path: string;
  /** What is missing on this machine to make it; undefined = nothing. */
  readonly missing: string | undefined;
  content(): Promise<string>;
}

// The oldest Kubernetes that the chart is for: what is rendered for it, newer ones take as well.
const MANIFEST_KUBERNETES = '1.20.0';

const manifestHead = `# Sluice as one file, for those who do not use Helm. Generated from deploy/helm/sluice by npm run generate.
#
# ambient.enabled is true here: what is labelled istio.io/dataplane-mode=ambient is enrolled, at once.
# It wants the namespace istio-system, and the image localhost/sluice on the nodes, or its real name written below.
# docs/install.md, "Without Helm", says how to apply it and, above all, how to delete it again.
`;

const manifest: GeneratedFile = {
  path: 'deploy/manifest.yaml',
  missing: helmPath() === undefined ? 'helm' : undefined,
  content: () =>
    Promise.resolve(
      manifestHead +
        renderChart({ hooks: false, kubeVersion: MANIFEST_KUBERNETES, values: { ambient: { enabled: true } } })
          .replaceAll(/^# Source: .*\n/gm, '')
          .replaceAll(/^ +(app\.kubernetes\.io\/managed-by|helm\.sh\/chart): .*\n/gm, ''),
    ),
};

const reference: GeneratedFile = {
  path: 'docs/configuration.md',
  missing: undefined,
  content: async () => {
    const { schema } = Schema.toJsonSchemaDocument(settings);
    const page = configurationReference(schema, readFileSync(repositoryPath('deploy/sluice.yaml'), 'utf8'));
    const path = repositoryPath('docs/configuration.md');
    return format(page, { ...(await resolveConfig(path)), filepath: path });
  },
};

export const generated: readonly GeneratedFile[] = [manifest, reference];
