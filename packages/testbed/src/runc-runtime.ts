// Real containers by runc, in private mounts with only cgroup2: how a current Kubernetes node looks to a runtime.
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { cgroup2Root, type Cgroup } from './cgroup.js';
import type { ContainerPlace, ContainerRuntime } from './container-runtime.js';
import { LineProcess } from './line-process.js';
import { enterCommand, peerProgram, PURE_V2_ROOT } from './peer-program.js';
import { findProgram } from './requires.js';

/** What a container may do: serve on low ports and, for the stand-in ztunnel, set SO_MARK and IP_TRANSPARENT. */
const CAPABILITIES = ['CAP_NET_BIND_SERVICE', 'CAP_NET_ADMIN', 'CAP_NET_RAW', 'CAP_KILL'];

export class RuncRuntime implements ContainerRuntime {
  readonly #directory: string;
  readonly #supervisors: Cgroup;
  readonly #runc: string;

  /** `directory` gets the state, the bundles and the root file system; runc itself runs in `supervisors`. */
  constructor(directory: string, supervisors: Cgroup) {
    this.#directory = directory;
    this.#supervisors = supervisors;
    this.#runc = findProgram('runc') ?? missing('runc');
    const bin = join(directory, 'rootfs', 'bin');
    for (const path of ['bin', 'proc', 'dev', 'tmp']) mkdirSync(join(directory, 'rootfs', path), { recursive: true });
    copyFileSync(findProgram('busybox') ?? missing('busybox-static'), join(bin, 'busybox'));
    copyFileSync(peerProgram(), join(bin, 'peer'));
    for (const applet of ['sh', 'sleep', 'cat']) symlinkSync('busybox', join(bin, applet));
  }

  start(place: ContainerPlace, args: readonly string[]): Promise<LineProcess> {
    const bundle = join(this.#directory, 'bundles', place.id);
    mkdirSync(bundle, { recursive: true });
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(this.#spec(place, args), undefined, 2));
    return this.#run('run', '--bundle', bundle, place.id);
  }

  exec(place: ContainerPlace, args: readonly string[]): Promise<LineProcess> {
    return this.#run('exec', place.id, '/bin/peer', ...args);
  }

  #run(...args: string[]): Promise<LineProcess> {
    const command = [this.#runc, '--root', join(this.#directory, 'state'), ...args];
    return LineProcess.start(enterCommand({ cgroup: this.#supervisors.path, cgroup2At: PURE_V2_ROOT }, command));
  }

  /** An OCI runtime specification. It raises no limit: a node without CAP_SYS_RESOURCE would refuse. */
  #spec(place: ContainerPlace, args: readonly string[]): unknown {
    const capabilities = { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES };
    return {
      ociVersion: '1.0.2',
      hostname: place.id.slice(0, 12),
      root: { path: join(this.#directory, 'rootfs'), readonly: true },
      process: {
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: ['/bin/peer', ...args],
        env: ['PATH=/bin'],
        cwd: '/',
        capabilities,
        noNewPrivileges: true,
      },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc' },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      ],
      linux: {
        cgroupsPath: `/${relative(cgroup2Root(), place.cgroup)}`,
        namespaces: [
          { type: 'pid' },
          { type: 'ipc' },
          { type: 'uts' },
          { type: 'mount' },
          { type: 'cgroup' },
          { type: 'network', path: place.netns },
        ],
        resources: { devices: [{ allow: false, access: 'rwm' }] },
      },
    };
  }
}

function missing(packageName: string): never {
  throw new Error(`${packageName} is not installed; apt-get install ${packageName}`);
}
