// Standard output when it cannot be written, or not as fast as we write: results matter, an agent's log does not.

let isLog = false;

/** From here on, what is printed is a log: the agent goes on without a reader, and on a full disk. */
export function outputIsLog(): void {
  isLog = true;
}

/** @param fail called when a result could not be printed: with undefined when nobody reads any more, else with the cause */
export function watchOutput(fail: (cause: string | undefined) => void): void {
  process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (!isLog) fail(code === 'EPIPE' ? undefined : message);
  });
  // What cannot be said there can be said nowhere.
  process.stderr.on('error', () => {});
}

/** Calls back when what was printed so far has been taken by the reader, who may be slow; after a failure was told. */
export function whenWritten(then: () => void): void {
  process.stdout.write('', () => process.stderr.write('', () => setImmediate(then)));
}
