// Runs programs to their end: the built command, and others.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const SLUICE = fileURLToPath(new URL('../dist/main.js', import.meta.url));

export interface CommandResult {
  /** -1 if a signal ended it, or if it could not be started. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 1 << 26;

export function runProgram(argv: readonly string[]): Promise<CommandResult> {
  const [program = '', ...rest] = argv;
  return new Promise((resolve) => {
    execFile(program, rest, { maxBuffer: MAX_OUTPUT_BYTES }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}
