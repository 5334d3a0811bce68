// The one error of this package; what the connector itself refuses comes through as its ProcConnectorError.

/** /proc cannot be read. `code` is the errno's name. */
export class ProcessWatcherError extends Error {
  readonly code: string;

  constructor(message: string, code: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ProcessWatcherError';
    this.code = code;
  }
}
