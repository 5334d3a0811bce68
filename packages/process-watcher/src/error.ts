// The only error of this package; the connector's own failures come through as its ProcConnectorError.

/** /proc cannot be read. `code` is the errno's name. */
export class ProcessWatcherError extends Error {
  readonly code: string;

  constructor(message: string, code: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ProcessWatcherError';
    this.code = code;
  }
}
