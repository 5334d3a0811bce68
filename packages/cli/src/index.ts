// The command's public surface: the command itself, how it ends, and what it prints.
export { sluice } from './sluice.js';
export { CommandFailure, ExitCode, failureOf } from './exit.js';
export { renderCleanup } from './render/cleanup.js';
export { renderExplanation, renderInbound } from './render/explain.js';
export { renderStatus } from './render/status.js';
export { renderVerification } from './render/verification.js';
export { renderRecord } from './render/watch.js';
