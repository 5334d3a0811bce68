// The objects that the Makefile compiles from native/test/.
import { fileURLToPath } from 'node:url';

export function objectPath(name: string): string {
  return fileURLToPath(new URL(`../../build/test/${name}.bpf.o`, import.meta.url));
}
