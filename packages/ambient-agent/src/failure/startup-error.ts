// Why the agent could not start. There is one class, so that the command can print just the message.
import * as Schema from 'effect/Schema';

/** `check` names what was checked; the message has the object, the cause and the remedy. */
export class StartupError extends Schema.TaggedError<StartupError>()('StartupError', {
  check: Schema.Literals([
    'root',
    'kernel',
    'zds',
    'cgroup2',
    'bpffs',
    'host-netns',
    'lock',
    'inventory',
    'kubernetes',
    'datapath',
    'process-events',
    'run-directory',
    'metrics',
  ]),
  message: Schema.String,
}) {}
