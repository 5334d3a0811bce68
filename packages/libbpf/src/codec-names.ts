// C names as TypeScript names.

/** cgroup_info -> CgroupInfo */
export function pascalCase(cName: string): string {
  const camel = camelCase(cName);
  return camel.charAt(0).toUpperCase() + camel.slice(1);
}

/** is_in_mesh -> isInMesh; a leading underscore stays. */
export function camelCase(cName: string): string {
  return cName.replace(/(?<=[^_])_+([^_])/g, (_, letter: string) => letter.toUpperCase());
}

/** cgroup_info -> CGROUP_INFO */
export function constantCase(cName: string): string {
  return cName.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
}

/**
 * Enumerators without the part that they share with each other or with the enum's name: { VERDICT_PASS, VERDICT_REFUSE } of
 * `enum verdict` -> PASS, REFUSE. Names stay whole where the rest would not be a name.
 */
export function enumeratorNames(enumName: string, names: readonly string[]): string[] {
  const own = `${constantCase(enumName)}_`;
  const prefix = commonPrefix(names);
  const short = names.map((name) => {
    if (prefix !== '') return name.slice(prefix.length);
    return name.startsWith(own) ? name.slice(own.length) : name;
  });
  const usable = short.every((name) => /^[A-Za-z_]/.test(name)) && new Set(short).size === short.length;
  return usable ? short : [...names];
}

/** The longest common beginning that ends in an underscore; '' for a single name. */
function commonPrefix(names: readonly string[]): string {
  const [first] = names;
  if (first === undefined || names.length < 2) return '';
  let length = first.lastIndexOf('_') + 1;
  while (length > 0 && !names.every((name) => name.startsWith(first.slice(0, length)))) {
    length = first.lastIndexOf('_', length - 2) + 1;
  }
  return first.slice(0, length);
}
