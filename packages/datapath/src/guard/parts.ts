// What the guard consists of, each part by the name of its program and of its pin.
import { BpfError, type BpfLink, type BpfProgram } from '@sluice/libbpf';
import { errorCode } from '@sluice/linux';

export interface Part {
  readonly program: string;
  readonly attach: (program: BpfProgram) => BpfLink;
  /** Whether a failure to attach says that this kind of machine does not have it: nothing is amiss then. */
  readonly isAbsent: (failure: BpfError) => boolean;
}

const never = (): boolean => false;

/** In the order of attachment: a pod's cgroup is known before its log directory asks for it. */
const PARTS = {
  cgroup_rmdir: {
    program: 'sluice_cgroup_rmdir',
    attach: (program) => program.attachTracing(),
    isAbsent: never,
  },
  cgroup_mkdir: {
    program: 'sluice_cgroup_mkdir',
    attach: (program) => program.attachTracing(),
    isAbsent: never,
  },
  mkdirat: {
    program: 'sluice_mkdirat',
    attach: (program) => program.attachTracepoint('syscalls/sys_enter_mkdirat'),
    isAbsent: never,
  },
  // arm64 has no mkdir(2), and its programs use mkdirat(2).
  mkdir: {
    program: 'sluice_mkdir',
    attach: (program) => program.attachTracepoint('syscalls/sys_enter_mkdir'),
    isAbsent: ({ syscall, code }) => syscall === 'openat' && code === 'ENOENT',
  },
  let_go: { program: 'sluice_let_go', attach: (program) => program.attachIterator(), isAbsent: never },
  // Some kernels let no program answer for their functions.
  refuse_listen: {
    program: 'sluice_refuse_listen',
    attach: (program) => program.attachTracing(),
    isAbsent: ({ code }) => code === 'EPERM',
  },
} as const satisfies Record<string, Part>;

/**
 * `cgroup_mkdir` sees pods' cgroups come, and `cgroup_rmdir` go; `mkdirat` and `mkdir` see their log directories; `let_go` lets
 * listeners go; `refuse_listen` refuses those that cannot be held.
 */
export type GuardPart = keyof typeof PARTS;
export const parts: Readonly<Record<GuardPart, Part>> = PARTS;
export const GUARD_PARTS: readonly GuardPart[] = [
  'cgroup_rmdir',
  'cgroup_mkdir',
  'mkdirat',
  'mkdir',
  'let_go',
  'refuse_listen',
];

/** A part that cannot be had, and why. */
export interface MissingGuardPart {
  readonly part: GuardPart;
  readonly why: string;
  /** Whether it may be had at another time: it was attached before, or something had run out. */
  readonly isPassing: boolean;
}

export const isNotOfThisMachine = (part: Part, error: unknown): boolean =>
  error instanceof BpfError && part.isAbsent(error);

/** What the kernel says when there is none left just now, of descriptors, memory, or anything else. It says nothing of its features. */
const RUN_OUT: readonly (string | undefined)[] = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR'];

export const isPassing = (error: unknown): boolean => RUN_OUT.includes(errorCode(error));
