// make-bundle.js DIRECTORY: what the Dockerfile runs.
import { bundleCommand } from './bundle.js';

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  console.error('make-bundle: DIRECTORY is expected');
  process.exit(2);
}
const { files, packages } = await bundleCommand(directory);
console.log(`${files.length} files, with the code of ${packages.join(', ')}`);
