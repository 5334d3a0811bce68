// What this package refuses, and why.

/** A workload or an option that cannot be accepted. The message says what, and what to do about it. */
export class ZdsError extends Error {
  override readonly name = 'ZdsError';
  readonly code: 'invalid-workload' | 'message-too-long' | 'own-netns' | 'closed';

  constructor(code: ZdsError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
