// Which way imports may point, as overrides for the linter. Nothing is stated here: each package's own package.json says what
// it may import, and the list under "Floors" in its README has the floors inside it, the lowest first.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SCOPE = '@sluice/';

/** @param {string} root the repository */
export function importRules(root) {
  return readdirSync(join(root, 'packages')).flatMap((name) => packageRules(join(root, 'packages', name), name));
}

function packageRules(directory, name) {
  const manifest = join(directory, 'package.json');
  if (!existsSync(manifest)) return [];
  const { dependencies = {} } = JSON.parse(readFileSync(manifest, 'utf8'));
  const allowed = Object.keys(dependencies).filter((dependency) => dependency.startsWith(SCOPE));
  const ofPackage = [
    {
      group: [`${SCOPE}*`, ...allowed.map((dependency) => `!${dependency}`)],
      message: `packages/${name} may import only: ${allowed.join(', ') || 'no other package'} (its package.json)`,
    },
    { regex: `^${SCOPE}[^/]+/`, message: 'index.ts is the whole public surface of a package' },
    { regex: '^[.]{1,2}/.*/(src|dist)/', message: 'another package is imported by its name' },
  ];
  const floors = floorsOf(directory, name);
  return [
    restricted(`packages/${name}/src/**/*.ts`, ofPackage),
    // The last override that fits a file counts, so each floor's override repeats what holds for the whole package.
    ...floors.map((floor, index) =>
      restricted(`packages/${name}/src/${floor}/**/*.ts`, [
        ...ofPackage,
        {
          regex: `^[.][.]/(${[...floors.slice(index + 1).map((above) => `${above}/`), '[^/]+$'].join('|')})`,
          message: `${floor}/ may import only what is below it: ${floors.slice(0, index).join(', ') || 'nothing'} (the floors in packages/${name}/README.md)`,
        },
      ]),
    ),
  ];
}

/** The folders of src/ from the lowest to the highest; none if the README has no such list. */
function floorsOf(directory, name) {
  const readme = readFileSync(join(directory, 'README.md'), 'utf8');
  const section = /^## Floors\n([^]*?)(?=^## |$(?![^]))/m.exec(readme)?.[1];
  if (section === undefined) return [];
  const listed = [...section.matchAll(/^- `([a-z-]+)\/`/gm)].map(([, folder]) => folder);
  const present = readdirSync(join(directory, 'src'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
  const unlisted = present.filter((folder) => !listed.includes(folder));
  const absent = listed.filter((folder) => !present.includes(folder));
  if (unlisted.length + absent.length > 0)
    throw new Error(
      `the floors in packages/${name}/README.md are not the folders of packages/${name}/src: ` +
        [
          ...unlisted.map((folder) => `${folder}/ is not listed`),
          ...absent.map((folder) => `${folder}/ is not there`),
        ].join(', '),
    );
  return listed;
}

function restricted(files, patterns) {
  return { files: [files], rules: { 'no-restricted-imports': ['error', { patterns }] } };
}
