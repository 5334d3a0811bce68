// Bundles the command into one directory that needs only Node: the image's content. It is laid out like a package
// (dist/, build/, package.json), because the code looks up the addons and the BPF objects relative to itself.
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as Schema from 'effect/Schema';
import { build } from 'esbuild';
import { repositoryPath } from './repository.js';

export interface Bundle {
  /** Every file that was written, relative to the directory. */
  readonly files: readonly string[];
  /** npm packages whose code is in it, as name@version. */
  readonly packages: readonly string[];
}

// CommonJS parts (cli-table3, ipaddr.js) call require() for Node's own modules; an ES module does not have that function.
const banner = `import { createRequire as sluiceCreateRequire } from 'node:module';
const require = sluiceCreateRequire(import.meta.url);`;

const ownPackage = /^packages[\\/]([^\\/]+)[\\/]/;

/** Where Node is in the image, for the command's shebang. */
const NODE = '/usr/local/bin/node';

const Manifest = Schema.Struct({
  name: Schema.String,
  version: Schema.String,
  license: Schema.optionalKey(Schema.String),
});
const readManifest = Schema.decodeUnknownSync(Schema.fromJsonString(Manifest));
const manifestOf = (directory: string): typeof Manifest.Type =>
  readManifest(readFileSync(join(directory, 'package.json'), 'utf8'));

/** The npm package that a file below node_modules belongs to, as a path. */
function npmPackage(input: string): string | undefined {
  const parts = input.split(sep);
  const at = parts.lastIndexOf('node_modules');
  if (at < 0) return undefined;
  return parts.slice(0, at + (parts[at + 1]?.startsWith('@') ? 3 : 2)).join(sep);
}

function licenceTexts(directories: Iterable<string>): string {
  const texts: string[] = [];
  for (const directory of directories) {
    const { name, version, license = 'see its text' } = manifestOf(directory);
    const files = readdirSync(directory).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file));
    const bodies = files.map((file) => readFileSync(join(directory, file), 'utf8').trim());
    texts.push([`${name} ${version} (${license})`, ...bodies].join('\n\n'));
  }
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

/**
 * Writes the command, and the chart's uninstall hook, to a directory, which it makes.
 * Everything has to be built first (`npm run build`).
 * @throws Error when a package's addon is missing, two files have one name, or the versions of the packages differ
 */
export async function bundleCommand(directory: string): Promise<Bundle> {
  const entryPoints = {
    sluice: repositoryPath('packages/cli/dist/main.js'),
    uninstall: fileURLToPath(new URL('../dist/uninstall.js', import.meta.url)),
  };
  for (const path of Object.values(entryPoints))
    if (!existsSync(path)) throw new Error(`${path} does not exist: run npm run build`);
  const { metafile } = await build({
    entryPoints,
    outdir: join(directory, 'dist'),
    bundle: true,
    // A command reads only the parts that it uses, so help and version stay fast.
    splitting: true,
    chunkNames: '[name]-[hash]',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    charset: 'utf8',
    // It takes 17 MB and reads kubeconfigs; a pod has a service account instead.
    external: ['@kubernetes/client-node'],
    legalComments: 'none',
    banner: { js: banner },
    metafile: true,
    absWorkingDir: repositoryPath('.'),
    logLevel: 'silent',
  });
  const inputs = Object.keys(metafile.inputs);

  const own = [...new Set(inputs.map((input) => ownPackage.exec(input)?.[1]).filter((name) => name !== undefined))];
  const versions = new Set(own.map((name) => manifestOf(repositoryPath(`packages/${name}`)).version));
  const [version] = versions;
  if (version === undefined || versions.size > 1) {
    throw new Error(`the packages must have one version, but have ${[...versions].join(', ')}`);
  }
  const copied: string[] = [];
  const copy = (from: string, to: string): void => {
    if (copied.includes(to)) throw new Error(`${from}: another package has a ${to}, too; rename one`);
    mkdirSync(dirname(join(directory, to)), { recursive: true });
    copyFileSync(from, join(directory, to));
    copied.push(to);
  };
  for (const name of own) {
    const root = repositoryPath(`packages/${name}`);
    const natives = existsSync(join(root, 'Makefile')) ? filesOf(join(root, 'build'), '.node') : [];
    if (existsSync(join(root, 'native/addon.cc')) && natives.length === 0) {
      throw new Error(`packages/${name}/build holds no addon: run npm run build`);
    }
    for (const path of natives) copy(path, `build/${basename(path)}`);
    for (const path of filesOf(join(root, 'dist'), '.bpf.o')) copy(path, `dist/${basename(path)}`);
  }

  const npm = [...new Set(inputs.map(npmPackage).filter((path) => path !== undefined))]
    .sort()
    .map((path) => repositoryPath(path));
  const manifest = { name: 'sluice', version, type: 'module', private: true };
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  writeFileSync(join(directory, 'THIRD-PARTY-LICENSES'), licenceTexts(npm));
  const main = join(directory, 'dist/sluice.js');
  const code = readFileSync(main, 'utf8').replace(/^#!.*\n/, '');
  writeFileSync(main, `#!${NODE}\n${code}`);
  chmodSync(main, 0o755);

  const written = Object.keys(metafile.outputs).map((path) => `dist/${basename(path)}`);
  return {
    files: [...written, ...copied, 'package.json', 'THIRD-PARTY-LICENSES'].sort(),
    packages: npm.map(manifestOf).map((entry) => `${entry.name}@${entry.version}`),
  };
}

function filesOf(directory: string, ending: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(ending))
    .map((name) => join(directory, name));
}
