// The directory in the BPF file system in which the datapath is pinned.
import { join } from 'node:path';

export const pinDirectory = (bpffs: string): string => join(bpffs, 'sluice');
