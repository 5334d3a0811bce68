// Whether this kernel has a kind of program, helper, map or link: asked by trying, not told by its version, which says
// little about a distribution's kernel. Nothing stays of a trial. Kinds that need more than their types to load (syscall
// programs, which have to be sleepable; tracing programs, which name a function) are never there by this measure.
import { attempt } from './error.js';
import { native } from './native.js';
import { attachTypeNumber, helperNumber, mapTypeNumber, programTypeNumber } from './names.js';

/**
 * What the verifier says of a helper that it does not know at all, that it knows for other kinds of program, and (since
 * 6.10) of the latter in other words: check_helper_call of kernel/bpf/verifier.c.
 */
const UNKNOWN_HELPER = /invalid func |unknown func |program of this type cannot use helper /;

/**
 * Whether programs of this kind load: 'cgroup_sock_addr' for 'cgroup_inet4_connect'.
 * @throws BpfError EPERM without CAP_BPF and CAP_NET_ADMIN, which says nothing of the kernel. As do the others.
 */
export function probeProgram(type: string, attachType: string): boolean {
  const [typeNumber, attachNumber] = [programTypeNumber(type), attachTypeNumber(attachType)];
  return attempt(`ask for programs '${attachType}'`, () => native.probeLoad(typeNumber, attachNumber)).errno === 0;
}

/** Whether programs of this kind may call a helper ('set_retval'); false also where there are no such programs. */
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
