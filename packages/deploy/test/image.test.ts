// The image without building it: the Dockerfile's promises, and the bundle that goes into it, run here with this Node.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand, repositoryPath, type Bundle } from '../src/index.js';

const dockerfile = readFileSync(repositoryPath('deploy/Dockerfile'), 'utf8');
const instructions = dockerfile.replaceAll('\\\n', ' ').split('\n');
const finalStage = instructions.slice(instructions.findLastIndex((line) => line.startsWith('FROM ')));

describe('deploy/Dockerfile', () => {
  it('ends in a stage that starts from nothing and takes one tree', () => {
    expect(finalStage[0]).toBe('FROM scratch');
    expect(finalStage.filter((line) => /^(RUN|ADD|COPY)/.test(line))).toEqual(['COPY --from=build /rootfs/ /']);
  });

  it('names its one base image by an argument', () => {
    expect(instructions.filter((line) => line.startsWith('FROM '))).toEqual(['FROM ${BASE} AS build', 'FROM scratch']);
    expect(dockerfile).toMatch(/^ARG BASE=\S+:\S+$/m);
  });

  it('copies only files that exist and that the ignore file admits', () => {
    const ignore = readFileSync(repositoryPath('deploy/Dockerfile.dockerignore'), 'utf8').split('\n');
    const sources = instructions
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(/\s+/).slice(1, -1));
    for (const source of sources) {
      expect(existsSync(repositoryPath(source)), source).toBe(true);
      expect(ignore).toContain(`!${source}`);
    }
  });

  it('has the version of the packages', () => {
    const { version } = JSON.parse(readFileSync(repositoryPath('packages/cli/package.json'), 'utf8')) as {
      version: string;
    };
    expect(dockerfile).toContain(`ARG VERSION=${version}\n`);
    expect(readFileSync(repositoryPath('deploy/helm/sluice/Chart.yaml'), 'utf8')).toContain(`appVersion: ${version}\n`);
  });

  it('can be built for amd64 and arm64: the build tools with binaries of their own have both', () => {
    const { packages } = JSON.parse(readFileSync(repositoryPath('package-lock.json'), 'utf8')) as { packages: object };
    const locked = new Set(Object.keys(packages).map((path) => path.replace(/^.*node_modules\//, '')));
    for (const [x64, arm64] of [
      ['@turbo/linux-64', '@turbo/linux-arm64'],
      ['@esbuild/linux-x64', '@esbuild/linux-arm64'],
      ['@typescript/typescript-linux-x64', '@typescript/typescript-linux-arm64'],
    ] as const) {
      expect([x64, locked.has(x64), arm64, locked.has(arm64)]).toEqual([x64, true, arm64, true]);
    }
  });
});

describe('the bundle', () => {
  let directory = '';
  let bundle: Bundle;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sluice-bundle-'));
    bundle = await bundleCommand(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const run = (...argv: string[]): { status: number; text: string } => {
    try {
      const text = execFileSync(process.execPath, [join(directory, 'dist/sluice.js'), ...argv], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
      return { status: 0, text };
    } catch (error) {
      const { status = -1, stderr = '' } = error as { status?: number; stderr?: string };
      return { status, text: stderr };
    }
  };

  it('holds the command, the hook, every addon and the BPF object', () => {
    const natives = readdirSync(repositoryPath('packages'))
      .filter((name) => existsSync(repositoryPath(`packages/${name}/native/addon.cc`)))
      .map((name) => readdirSync(repositoryPath(`packages/${name}/build`)).filter((file) => file.endsWith('.node')));
    expect(bundle.files.filter((file) => file.startsWith('build/'))).toEqual(
      natives
        .flat()
        .map((file) => `build/${file}`)
        .sort(),
    );
    expect(bundle.files).toEqual(
      expect.arrayContaining(['dist/sluice.js', 'dist/uninstall.js', 'dist/sluice.bpf.o', 'package.json']),
    );
    for (const file of bundle.files) expect(existsSync(join(directory, file)), file).toBe(true);
  });

  it('holds everything that its code looks up relative to itself', () => {
    const code = readdirSync(join(directory, 'dist')).filter((file) => file.endsWith('.js'));
    const wanted = code.flatMap((file) => {
      const text = readFileSync(join(directory, 'dist', file), 'utf8');
      return [...text.matchAll(/["'](\.\.\/[\w./-]+\.(?:node|json|o))["']/g)].map(([, path]) => path ?? '');
    });
    expect(wanted.length).toBeGreaterThan(4);
    for (const path of wanted) expect(existsSync(join(directory, 'dist', path)), path).toBe(true);
  });

  it('runs without node_modules: version, help, and a command that needs every native part', () => {
    expect(run('version').text).toMatch(/^sluice \d+\.\d+\.\d+ /);
    expect(run('--help').text).toContain('USAGE');
    const status = run('status', '--run-dir', join(directory, 'none'));
    expect(status).toMatchObject({ status: 3 });
    expect(status.text).toContain('no agent has run here');
  });

  it('leaves out the client that reads kubeconfigs', () => {
    expect(bundle.packages.filter((name) => name.startsWith('@kubernetes/'))).toEqual([]);
  });

  it('carries the licence of every package whose code it carries', () => {
    const text = readFileSync(join(directory, 'THIRD-PARTY-LICENSES'), 'utf8');
    for (const name of bundle.packages) expect(text).toContain(name.replace(/@(?=[^@]+$)/, ' '));
  });
});
