// Where in the BPF file system the datapath is pinned.
import { join } from 'node:path';

/** Where everything is pinned. */
export const pinDirectory = (bpffs: string): string => join(bpffs, 'sluice');
