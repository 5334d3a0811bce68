// npm run generate: writes the generated files of deploy/ and docs/. With --check, as npm run lint runs it, it
// writes nothing and names the files that are stale.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { jsonSchemaOf, settings } from '@sluice/ambient-agent';
import { format, getFileInfo, resolveConfig } from 'prettier';
import { helmPath, renderChart } from './chart.js';
import { chartSchema, chartTemplate, chartValues, exampleFile, referencePage } from './configuration.js';
import { repositoryPath } from './repository.js';

// The oldest Kubernetes that the chart supports; newer ones accept what is rendered for it.
const MANIFEST_KUBERNETES = '1.20.0';

const manifestHead = `# Sluice as one file, for those who do not use Helm. Generated from deploy/helm/sluice by npm run generate.
#
# ambient.enabled is true here: what is labelled istio.io/dataplane-mode=ambient is enrolled at once.
# It needs the namespace istio-system. Write the name of your image below, unless the nodes have localhost/sluice.
# docs/install.md, "Without Helm", says how to apply it and, above all, how to delete it again.
`;

const manifest = (): string =>
  manifestHead +
  renderChart({ hooks: false, kubeVersion: MANIFEST_KUBERNETES, values: { ambient: { enabled: true } } })
    .replaceAll(/^# Source: .*\n/gm, '')
    .replaceAll(/^ +(app\.kubernetes\.io\/managed-by|helm\.sh\/chart): .*\n/gm, '');

const declared = jsonSchemaOf(settings);

/** What each file ought to hold, from what it holds now. A file that is generated from another one comes after it. */
const contents: Readonly<Record<string, (current: string) => string>> = {
  'deploy/sluice.yaml': () => exampleFile(declared),
  'docs/configuration.md': (page) => referencePage(declared, page),
  'deploy/helm/sluice/templates/_config.tpl': () => chartTemplate(declared),
  'deploy/helm/sluice/values.yaml': (yaml) => chartValues(declared, yaml),
  'deploy/helm/sluice/values.schema.json': (json) => chartSchema(declared, json),
  'deploy/manifest.yaml': manifest,
};

async function formatted(filepath: string, text: string): Promise<string> {
  const { ignored, inferredParser } = await getFileInfo(filepath, { ignorePath: repositoryPath('.prettierignore') });
  return ignored || inferredParser === null ? text : format(text, { ...(await resolveConfig(filepath)), filepath });
}

const isCheck = process.argv.includes('--check');
for (const [path, content] of Object.entries(contents)) {
  if (content === manifest && helmPath() === undefined) {
    console.error(`${path} is not checked or written, because there is no helm (npm ci installs it)`);
    if (!isCheck) process.exitCode = 1;
    continue;
  }
  const file = repositoryPath(path);
  const current = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const wanted = await formatted(file, content(current));
  if (current === wanted) continue;
  if (isCheck) {
    console.error(`${path} is stale: run npm run generate`);
    process.exitCode = 1;
  } else {
    writeFileSync(file, wanted);
    console.log(`wrote ${path}`);
  }
}
