// The messages about an object that could not be opened or loaded.
import { existsSync } from 'node:fs';
import type { CallFailure } from './error.js';
import { trimVerifierLog } from './verifier-log.js';
import { missingCapabilities } from './capabilities.js';

export function explainOpen(failure: CallFailure, path: string): string | undefined {
  if (failure.code === 'ENOENT' && !existsSync(path)) {
    return 'the file does not exist (ENOENT). Build it, or correct the path';
  }
  if (failure.code === 'LIBBPF_FORMAT' || failure.code === 'LIBBPF_LIBELF') {
    return `it is no ELF object of BPF programs (${failure.code}). Compile one: clang -g -O2 -target bpf -c x.bpf.c -o x.bpf.o${detail(failure)}`;
  }
  if (failure.code === 'LIBBPF_ENDIAN') return `it was compiled for the other byte order (${failure.code})`;
  return failure.libbpfLog === undefined ? undefined : `${failure.text} (${failure.code})${detail(failure)}`;
}

export function explainLoad(failure: CallFailure): string | undefined {
  const refused = /prog '([^']+)': BPF program load failed/.exec(failure.libbpfLog ?? '')?.[1];
  if (refused !== undefined && failure.verifierLog !== undefined) {
    return `the kernel refused program '${refused}' (${failure.code}):\n${trimVerifierLog(failure.verifierLog)}`;
  }
  if (missingCapabilities().length > 0) return undefined;
  return `${failure.text} (${failure.code})${detail(failure)}`;
}

/** The first thing that libbpf said is nearly always the cause; the rest follows from it. */
function detail(failure: CallFailure): string {
  const first = failure.libbpfLog
    ?.split('\n')
    .map((line) => line.trim().replace(/^libbpf: /, ''))
    .find((line) => line !== '');
  return first === undefined ? '' : `. libbpf says: ${first}`;
}
