// Prints the directories of packages and of everything that they depend on, one a line: closure.mjs NAME...
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const found = new Set();

/** As Node looks for a package: in the node_modules of each directory upwards. */
function directoryOf(name, from) {
  for (let at = from; ; at = dirname(at)) {
    const directory = join(at, 'node_modules', name);
    if (existsSync(join(directory, 'package.json'))) return directory;
    if (at === '.') return undefined;
  }
}

function add(name, from, isOptional) {
  const directory = directoryOf(name, from);
  if (directory === undefined && isOptional) return; // for another platform
  if (directory === undefined) throw new Error(`${name} is not installed: run scripts/setup.sh`);
  if (found.has(directory)) return;
  found.add(directory);
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    readFileSync(join(directory, 'package.json'), 'utf8'),
  );
  for (const dependency of Object.keys({ ...dependencies, ...optionalDependencies }))
    add(dependency, directory, dependency in optionalDependencies);
}

for (const name of process.argv.slice(2)) add(name, '.', false);
console.log([...found].join('\n'));
