// Says in one line what cannot be understood of a command line, and what to write instead.
import type { CliError } from 'effect/cli';

const orOf = (words: readonly string[]): string => words.map((word) => `\`${word}\``).join(' or ');

function didYouMean(suggestions: readonly string[], otherwise: string): string {
  // Every letter is near every other.
  const near = suggestions.filter((name) => !/^-.$/.test(name));
  if (near.length > 0) return `; did you mean ${orOf(near)}?`;
  return otherwise === '' ? '' : `; ${otherwise}`;
}

/** What effect/cli expects: words, as `"a" | "b"` or `a | b`, or what a value is called in the help, as `FILE`. */
function allowedOf(expected: string): string {
  const text = expected.replace(/^Expected:? /, '');
  return text.includes(' | ') ? orOf(text.replaceAll('"', '').split(' | ')) : text;
}

function problemOf(error: CliError.NonShowHelpErrors, path: string, commands: readonly string[]): string {
  switch (error._tag) {
    case 'UnknownSubcommand':
      return `${JSON.stringify(error.subcommand)} is not a command${didYouMean(error.suggestions, `the commands are ${commands.join(', ')}`)}`;
    case 'UnrecognizedOption': {
      const { option, command = [], suggestions } = error;
      const place = command.length === 1 ? 'options come after the command' : '';
      return `\`${option}\` is not an option of \`${command.join(' ')}\`${didYouMean(suggestions, place)}`;
    }
    case 'InvalidValue': {
      const name = error.kind === 'flag' ? `--${error.option}` : `<${error.option}>`;
      const allowed = allowedOf(error.expected);
      if (error.value === '') return `${name} needs a value: ${allowed}`;
      return `${name} cannot be ${JSON.stringify(error.value)}; write ${allowed}`;
    }
    case 'UnexpectedArgument':
      return `\`${path}\` does not take ${error.arguments.map((text) => JSON.stringify(text)).join(' and ')}`;
    default:
      return error.message;
  }
}

/** @param commands the names of all commands */
export function usageMessage(
  { errors, commandPath }: Pick<CliError.ShowHelp, 'errors' | 'commandPath'>,
  commands: readonly string[],
): string {
  const path = commandPath.join(' ');
  const problems = errors.map((error) => problemOf(error, path, commands)).join('; ');
  return `${problems}${problems.endsWith('?') ? ' See' : '; see'} \`${path} --help\``;
}
