// Everything that is wrong with a configuration, each problem with its place and its remedy.
import * as Schema from 'effect/Schema';

export class ConfigError extends Schema.TaggedError<ConfigError>()('ConfigError', {
  /** The file, or 'command line' */
  source: Schema.String,
  problems: Schema.Array(Schema.String),
}) {
  override get message(): string {
    const [first, ...rest] = this.problems;
    if (rest.length === 0) return `${this.source}: ${first ?? 'not usable'}`;
    return `${this.source}: ${this.problems.length} problems\n${this.problems.map((text) => `  - ${text}`).join('\n')}`;
  }
}
