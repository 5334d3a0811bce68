// What the BPF programs do with ztunnel's listeners when they bind, for listeners that are older than the programs.
import { setSockOptInt } from '@sluice/linux';

// asm-generic/socket.h.
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** Without the option, an application could not bind a port that a steered connection occupies. @throws SystemCallError */
export const shareAddress = (fd: number): void => setSockOptInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
