// make-bundle.js DIRECTORY: bundles the command; the Dockerfile runs it.
import { bundleCommand } from './bundle.js';

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  console.error('make-bundle: the argument DIRECTORY is missing');
  process.exit(2);
}
const { files, packages } = await bundleCommand(directory);
console.log(`${files.length} files, with the code of ${packages.join(', ')}`);
