// Reads /proc/<pid>/mountinfo (proc(5), section 3.5 of Documentation/filesystems/proc.rst). Pure.

export interface MountEntry {
  /** The directory of the file system that is mounted. For cgroup2 it is relative to the reader's cgroup namespace. */
  readonly root: string;
  readonly mountPoint: string;
  readonly fsType: string;
}

// The kernel writes space, tab, newline, backslash and '#' as three octal digits (seq_path, mangle).
function unescape(field: string): string {
  return field.replaceAll(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

// "36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw": optional fields end at a lone hyphen.
const rootField = 3;
const mountPointField = 4;
const firstOptionalField = 6;

/** Every mount, in the kernel's order: of two on one mount point, the later is on top. Unreadable lines are left out. */
export function parseMountinfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const root = fields[rootField];
    const mountPoint = fields[mountPointField];
    const separator = fields.indexOf('-', firstOptionalField);
    const fsType = separator < 0 ? undefined : fields[separator + 1];
    if (root === undefined || mountPoint === undefined || fsType === undefined) continue;
    entries.push({ root: unescape(root), mountPoint: unescape(mountPoint), fsType: unescape(fsType) });
  }
  return entries;
}
