// What happens when standard output cannot be written, or is read slowly: results must not be lost, an agent's log may be.

let isLog = false;

/** Makes everything that is printed from here on a log: the agent goes on without a reader, and on a full disk. */
export function outputIsLog(): void {
  isLog = true;
}

/** @param fail called when a result could not be printed, with the cause, or with undefined when the reader is gone */
export function watchOutput(fail: (cause: string | undefined) => void): void {
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (!isLog) fail(code === 'EPIPE' ? undefined : message);
  });
  // There is nowhere else to report an error of standard error.
  process.stderr.on('error', () => {});
}

/** Calls back when the reader, who may be slow, has taken everything that was printed, or when a failure was reported. */
export function whenWritten(then: () => void): void {
  process.stdout.write('', () => process.stderr.write('', () => setImmediate(then)));
}
