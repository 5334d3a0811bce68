// npm run generate: writes the files that are made from others. A test tells when they are old.
import { writeFileSync } from 'node:fs';
import { generated } from './generated.js';
import { repositoryPath } from './repository.js';

for (const { path, missing, content } of generated) {
  if (missing === undefined) {
    writeFileSync(repositoryPath(path), await content());
    console.log(`${path} is written`);
  } else {
    console.error(`${path} is left as it is: ${missing} is missing`);
    process.exitCode = 1;
  }
}
