// BpfProgram: a loaded program, which can be attached, run once and pinned.
import { native } from './native.js';
import type { ProgramDefinitionRow } from './native.js';
import { attempt } from './error.js';
import type { CallFailure } from './error.js';
import { Descriptor, withDirectory } from './descriptor.js';
import { attachTypeName, programTypeName } from './names.js';
import { BpfLink } from './link.js';
import { programFacts } from './info.js';
import type { ProgramInfo } from './info.js';
import { openPin, pinAt } from './pin.js';
import { explainAttachFailure } from './attach-failure.js';

/** What BPF_PROG_TEST_RUN takes. */
export interface TestRunInput {
  /** The packet, for programs that have one. */
  data?: Uint8Array;
  /** The context structure; for 'syscall' programs the argument they read and write. */
  ctx?: Uint8Array;
  /** Runs; 1 unless given. */
  repeat?: number;
}

export interface TestRunResult {
  retval: number;
  /** Mean duration of one run, in nanoseconds. */
  durationNs: number;
  data?: Buffer;
  ctx?: Buffer;
}

/** A program in the kernel. It stays there while this object is open, or it is attached or pinned. */
export class BpfProgram {
  /** The C function's name; the kernel's own is cut to 15 characters. */
  readonly name: string;
  /** 'cgroup/connect4'; '' for a program that was opened by its pin. */
  readonly sectionName: string;
  /** 'cgroup_sock_addr' */
  readonly type: string;
  /** 'cgroup_inet4_connect'; undefined for a program that was opened by its pin. */
  readonly attachType: string | undefined;
  readonly id: number;
  readonly #descriptor: Descriptor;
  readonly #attachTypeNumber: number | undefined;

  /** For this package: takes over a descriptor. */
  constructor(fd: number, definition?: ProgramDefinitionRow) {
    this.#descriptor = new Descriptor(fd, `program '${definition?.name ?? fd}'`);
    const facts = attempt('read a program', () => native.programInfo(fd));
    this.name = definition?.name ?? facts.name;
    this.sectionName = definition?.sectionName ?? '';
    this.type = programTypeName(facts.type);
    this.id = facts.id;
    this.#attachTypeNumber = definition?.expectedAttachType;
    this.attachType = definition === undefined ? undefined : attachTypeName(definition.expectedAttachType);
  }

  /** Opens a program by its pin. It can replace another in a link, and be run and pinned, but not be attached by a new link. */
  static openPinned(path: string): BpfProgram {
    return new BpfProgram(openPin(path, 'program'));
  }

  get fd(): number {
    return this.#descriptor.number;
  }

  info(): ProgramInfo {
    return attempt(`read program '${this.name}'`, () => programFacts(native.programInfo(this.fd)));
  }

  /**
   * Attaches it to a cgroup (the path of its directory) by a link. Others may attach beside it (a link implies
   * BPF_F_ALLOW_MULTI). EPERM if a foreign program is attached exclusively there or above: the message says whose it is.
   */
  attachCgroup(cgroupPath: string): BpfLink {
    return this.#attach(
      'cgroup',
      cgroupPath,
      (link) => withDirectory(cgroupPath, link),
      (failure, attachType) =>
        failure.syscall === 'bpf(BPF_LINK_CREATE)'
          ? explainAttachFailure(cgroupPath, attachTypeName(attachType), failure)
          : undefined,
    );
  }

  /** Attaches it to an open network namespace (sk_lookup, flow_dissector). `path` names it in errors. */
  attachNetns({ fd, path }: { readonly fd: number; readonly path: string }): BpfLink {
    return this.#attach(
      'network namespace',
      path,
      (link) => link(fd),
      () => undefined,
    );
  }

  /**
   * Attaches a program of type 'tracepoint' to a static tracepoint of the kernel, such as 'syscalls/sys_enter_mkdirat'. No tracefs
   * has to be mounted. ENOENT if this kernel has no such tracepoint; the message names the system call that failed.
   */
  attachTracepoint(name: string): BpfLink {
    return this.#attachTo(`tracepoint ${name}`, () => native.linkTracepoint(this.fd, name));
  }

  /** Attaches a program of a section 'tp_btf/...' or 'fmod_ret/...' to the tracepoint or the function that the section names. */
  attachTracing(): BpfLink {
    return this.#attachTo('what its section names', () => native.linkRawTracepoint(this.fd));
  }

  /** Makes a link for a program of a section 'iter/...', which {@link BpfLink.iterate} runs. */
  attachIterator(): BpfLink {
    const attachType = this.#attachTypeNumber;
    if (attachType === undefined)
      throw new TypeError(`cannot attach '${this.name}': it was opened by its pin, and its attach type is not known`);
    return this.#attachTo('the objects that it goes through', () => native.linkCreate(this.fd, 0, attachType));
  }

  /**
   * Runs it once in the kernel (BPF_PROG_TEST_RUN). Not every type can be run: sock_addr, sockopt and sock_ops give ENOTSUPP.
   */
  testRun(input: TestRunInput = {}): TestRunResult {
    return attempt(
      `run program '${this.name}'`,
      () => {
        const inPlace = this.type === 'syscall';
        // The kernel refuses a repeat count for syscall programs.
        const repeat = inPlace ? 0 : (input.repeat ?? 1);
        return native.testRun(this.fd, input.data, input.ctx, repeat, inPlace);
      },
      (failure) =>
        failure.code === 'ENOTSUPP'
          ? `the kernel has no test run for programs of type ${this.type} (ENOTSUPP)`
          : undefined,
    );
  }

  pin(path: string): void {
    pinAt(this.fd, path, `program '${this.name}'`);
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #attachTo(target: string, create: () => number): BpfLink {
    const fd = attempt(`attach program '${this.name}' to ${target}`, create, explainTracing);
    return new BpfLink(fd, `link of program '${this.name}' to ${target}`);
  }

  #attach(
    kind: 'cgroup' | 'network namespace',
    path: string,
    withTarget: (link: (targetFd: number) => number) => number,
    explain: (failure: CallFailure, attachType: number) => string | undefined,
  ): BpfLink {
    const what = `attach program '${this.name}' to ${kind} ${path}`;
    const attachType = this.#attachTypeNumber;
    if (attachType === undefined) {
      throw new TypeError(`cannot ${what}: it was opened by its pin, and its attach type is not known`);
    }
    const fd = attempt(
      what,
      () => withTarget((target) => native.linkCreate(this.fd, target, attachType)),
      (failure) => explain(failure, attachType) ?? explainTarget(failure, path, kind),
    );
    return new BpfLink(fd, `link of program '${this.name}' to ${path}`);
  }
}

function explainTracing({ syscall, code, text }: CallFailure): string {
  if (syscall === 'openat' && code === 'ENOENT') return 'this kernel has no such tracepoint (ENOENT)';
  if (syscall === 'fsopen' && code === 'ENODEV')
    return 'fsopen: this kernel has no tracefs (ENODEV). It needs CONFIG_FTRACE_SYSCALLS';
  const remedy = code === 'EPERM' ? '. It takes CAP_SYS_ADMIN, and no lockdown of the kernel' : '';
  return `${syscall}: ${text} (${code})${remedy}`;
}

function explainTarget(failure: CallFailure, path: string, kind: string): string | undefined {
  if (failure.code === 'ENOENT') return `${path} does not exist (ENOENT)`;
  if (failure.code === 'ENOTDIR') return `${path} is not a directory (ENOTDIR)`;
  // cgroup_get_from_fd and get_net_ns_by_fd: the descriptor belongs to something else.
  if (failure.code === 'EBADF' && kind === 'cgroup')
    return `${path} is not a directory of a cgroup2 file system (EBADF)`;
  if (failure.code === 'EINVAL' && kind === 'network namespace')
    return `${path} is no network namespace, or the program's type does not belong there (EINVAL)`;
  return undefined;
}
