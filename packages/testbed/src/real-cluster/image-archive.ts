// Writes a container image of a few files as a docker-archive: one layer, a configuration, and a manifest that names them.
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runToEnd } from '../line-process.js';

export interface ImageContents {
  /** With a registry and a tag, as in a pod's specification. */
  readonly name: string;
  /** Paths in the image, and the programs of the machine that are copied there. */
  readonly programs: Readonly<Record<string, string>>;
  /** Symbolic links: paths in the image, and their targets. */
  readonly links?: Readonly<Record<string, string>>;
  readonly entrypoint: readonly string[];
}

/** Names of processors in Node and in Go. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
/** A process expects these directories. */
const DIRECTORIES = ['tmp', 'etc', 'proc', 'sys', 'dev'];

/** Writes the archive to `<directory>/<file>` and returns its path. */
export async function writeImageArchive(directory: string, file: string, contents: ImageContents): Promise<string> {
  const archive = join(directory, file);
  const work = `${archive}.d`;
  const root = join(work, 'root');
  const files = join(work, 'files');
  for (const path of DIRECTORIES) mkdirSync(join(root, path), { recursive: true });
  mkdirSync(files);
  for (const [path, program] of Object.entries(contents.programs)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    copyFileSync(program, join(root, path));
    chmodSync(join(root, path), 0o755);
  }
  for (const [path, target] of Object.entries(contents.links ?? {})) symlinkSync(target, join(root, path));

  await pack(root, join(files, 'layer.tar'));
  const layer = digest(readFileSync(join(files, 'layer.tar')));
  const configuration = JSON.stringify({
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: { Entrypoint: contents.entrypoint, Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${layer}`] },
  });
  const configFile = `${digest(configuration)}.json`;
  writeFileSync(join(files, configFile), configuration);
  const manifest = [{ Config: configFile, RepoTags: [contents.name], Layers: ['layer.tar'] }];
  writeFileSync(join(files, 'manifest.json'), JSON.stringify(manifest));
  await pack(files, archive);
  rmSync(work, { recursive: true });
  return archive;
}

async function pack(directory: string, archive: string): Promise<void> {
  await runToEnd(['tar', '--owner=0', '--group=0', '--numeric-owner', '-C', directory, '-cf', archive, '.']);
}

function digest(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
