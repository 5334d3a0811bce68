// Whether this kernel has a type of program, helper, map or link. It is found out by trying, not from the version, which says
// little about a distribution's kernel. Nothing stays of a trial. Programs that need more than their types to load never count
// as present (syscall programs, which have to be sleepable; tracing programs, which name a function).
import { attempt } from './error.js';
import { native } from './native.js';
import { attachTypeNumber, helperNumber, mapTypeNumber, programTypeNumber } from './names.js';

/**
 * What the verifier says about a helper that it does not know at all, about one that it knows only for other types of program,
 * and (since 6.10) about the latter in other words: check_helper_call of kernel/bpf/verifier.c.
 */
const UNKNOWN_HELPER = /invalid func |unknown func |program of this type cannot use helper /;

/**
 * Whether programs of this kind load: 'cgroup_sock_addr' for 'cgroup_inet4_connect'.
 * @throws BpfError EPERM without CAP_BPF and CAP_NET_ADMIN, which says nothing about the kernel. The other probes throw it,
 * too.
 */
export function probeProgram(type: string, attachType: string): boolean {
  const [typeNumber, attachNumber] = [programTypeNumber(type), attachTypeNumber(attachType)];
  return attempt(`ask for programs '${attachType}'`, () => native.probeLoad(typeNumber, attachNumber)).errno === 0;
}

/** Whether programs of this kind may call a helper ('set_retval'); false also if there are no such programs. */
export function probeHelper(type: string, attachType: string, helper: string): boolean {
  if (!probeProgram(type, attachType)) return false;
  const [typeNumber, attachNumber] = [programTypeNumber(type), attachTypeNumber(attachType)];
  const number = helperNumber(helper);
  const { log } = attempt(`ask for the helper '${helper}'`, () => native.probeLoad(typeNumber, attachNumber, number));
  return !UNKNOWN_HELPER.test(log);
}

/** Whether programs of this kind can be attached by a link (bpf_link). */
export function probeLink(type: string, attachType: string): boolean {
  const [typeNumber, attachNumber] = [programTypeNumber(type), attachTypeNumber(attachType)];
  return attempt(`ask for links '${attachType}'`, () => native.probeLink(typeNumber, attachNumber));
}

/** Whether maps of this type ('ringbuf') can be made. */
export function probeMapType(type: string): boolean {
  const number = mapTypeNumber(type);
  return attempt(`ask for maps of type '${type}'`, () => native.probeMapType(number));
}
