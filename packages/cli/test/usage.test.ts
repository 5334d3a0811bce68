// The message for every option of every command that is given wrongly, in every way; the commands say which options they have.
import * as Cause from 'effect/Cause';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Option from 'effect/Option';
import { CliOutput, type HelpDoc } from 'effect/cli';
import { describe, expect, it } from 'vitest';
import { runCommandLine } from '../src/command-line.js';
import { CommandFailure, ExitCode, sluice } from '../src/index.js';

/** With it, a command that should have refused its options does nothing either. */
const NO_FILE = '/nonexistent.yaml';

async function failureOf(...args: string[]): Promise<CommandFailure> {
  const exit = await Effect.runPromiseExit(runCommandLine(args));
  const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined;
  if (error instanceof CommandFailure) return error;
  throw new Error(`${args.join(' ')} was not refused`, { cause: error });
}

async function helpOf(command: string): Promise<HelpDoc.HelpDoc> {
  const docs: HelpDoc.HelpDoc[] = [];
  const formatHelpDoc = (doc: HelpDoc.HelpDoc): string => {
    docs.push(doc);
    return '';
  };
  const formatter = CliOutput.layer(Object.assign(CliOutput.defaultFormatter(), { formatHelpDoc }));
  await Effect.runPromise(Effect.provide(runCommandLine([command, '--help']), formatter));
  const [doc] = docs;
  if (doc === undefined) throw new Error(`${command} has no help`);
  return doc;
}

const commands = sluice.subcommands.flatMap((group) => group.commands.map(({ name }) => name));
const documented = await Promise.all(commands.map(async (command) => ({ command, ...(await helpOf(command)) })));

const options = documented.flatMap(({ command, flags }) =>
  flags.map(({ name, type, aliases, description }) => {
    const words = /\(choices: (.*)\)$/.exec(Option.getOrElse(description, () => ''))?.[1]?.split(', ');
    return { command, name, option: `--${name}`, aliases, words: type === 'boolean' ? ['true', 'false'] : words, type };
  }),
);
const withValues = options.filter(({ type }) => type !== 'boolean');

const misspelt = (name: string): string => `${name.slice(0, 1)}q${name.slice(2)}`;

async function expectMessage(args: readonly string[], start: string, ...parts: readonly string[]): Promise<void> {
  const [first = '', ...more] = args;
  const hasFile = options.some(({ command, name }) => command === first && name === 'config');
  const isAboutFile = more.some((arg) => arg.startsWith('--config'));
  const { message, exitCode } = await failureOf(
    first,
    ...(hasFile && !isAboutFile ? ['--config', NO_FILE] : []),
    ...more,
  );
  expect(exitCode).toBe(ExitCode.usage);
  expect(message.slice(0, start.length)).toBe(start);
  for (const part of parts) expect(message).toContain(part);
  const command = commands.find((name) => name === first);
  expect(message).toMatch(new RegExp(`[;?] [Ss]ee \`sluice${command === undefined ? '' : ` ${command}`} --help\`$`));
  expect(message).not.toContain('\n');
}

describe('the message for an option', () => {
  it.each(options)('that is misspelt has the right one: $command $option', async ({ command, name, option }) => {
    const wrong = `--${misspelt(name)}`;
    await expectMessage(
      [command, wrong],
      `\`${wrong}\` is not an option of \`sluice ${command}\`; did you mean `,
      option,
    );
  });

  it.each(withValues)(
    'without a value says what it takes: $command $option',
    async ({ command, option, type, words }) => {
      const allowed = words ?? [type];
      const start = `${option} needs a value: `;
      for (const args of [[option], [`${option}=`], [option, '']])
        await expectMessage([command, ...args], start, ...allowed);
    },
  );

  it.each(options)('that is repeated says so: $command $option', async ({ command, option, words }) => {
    const value = words?.[0] ?? NO_FILE;
    const twice = [`${option}=${value}`, `${option}=${value}`];
    await expectMessage([command, ...twice], `${option} is given 2 times; give it once`);
  });

  it('that is repeated by its short name says so, too', async () => {
    const short = options.filter(({ aliases }) => aliases.length > 0);
    expect(short.length).toBeGreaterThanOrEqual(commands.length);
    for (const { command, option, aliases, words } of short) {
      const [word = ''] = words ?? [];
      const args = [command, `${option}=${word}`, `${aliases[0]}=${word}`];
      await expectMessage(args, `${option} is given 2 times; give it once`);
    }
  });

  it.each(options.filter(({ words }) => words !== undefined))(
    'with another word says which there are: $command $option',
    async ({ command, option, words = [] }) => {
      await expectMessage([command, `${option}=xyzzy`], `${option} cannot be "xyzzy"; write `, ...words);
    },
  );
});

describe('the message for an argument', () => {
  it.each(commands.filter((command) => command !== 'log-level'))('says that there is none: %s', async (command) => {
    await expectMessage([command, 'one', 'two'], `\`sluice ${command}\` does not take "one" and "two"`);
  });
  it('says which there are', async () => {
    const levels = ['debug', 'info', 'warn', 'error', 'configured'];
    await expectMessage(['log-level', 'loud'], '<level> cannot be "loud"; write ', ...levels);
    await expectMessage(['log-level', ''], '<level> needs a value: ', ...levels);
    await expectMessage(['log-level', 'info', 'debug'], '`sluice log-level` does not take "debug"');
  });
});

describe('the message for a command', () => {
  it.each(commands)('that is misspelt has the right one: %s', async (command) => {
    const wrong = misspelt(command);
    await expectMessage([wrong], `"${wrong}" is not a command; did you mean `, `\`${command}\``);
  });
  it('that is like none has all of them', async () => {
    for (const wrong of ['xyzzyplugh', '']) await expectMessage([wrong], `"${wrong}" is not a command; `, ...commands);
  });
  it('says that options come after it', async () => {
    const { message } = await failureOf('--verify', 'status');
    expect(message).toBe(
      '`--verify` is not an option of `sluice`; options come after the command; see `sluice status --help`',
    );
  });
});
