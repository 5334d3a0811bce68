// The two images that the testbed makes for a cluster, because nothing can be pulled: a pod's sandbox, and an application.
import { peerProgram } from '../peer-program.js';
import { findProgram } from '../requires.js';
import { writeImageArchive } from './image-archive.js';

export const SANDBOX_IMAGE = 'testbed.local/pause:1';
/** It has /bin/peer, and busybox's applets that a probe or a person may need. */
export const APPLICATION_IMAGE = 'testbed.local/application:1';

const APPLETS = ['sh', 'cat', 'ls', 'grep', 'netstat', 'sleep', 'echo', 'httpd', 'wget', 'ip', 'ps'];

/** Writes both and returns the archives' paths. */
export function writeTestbedImages(directory: string): Promise<string[]> {
  const peer = peerProgram();
  const busybox = findProgram('busybox');
  if (busybox === undefined) throw new Error('busybox is not in PATH; apt-get install busybox-static');
  return Promise.all([
    writeImageArchive(directory, 'sandbox.tar', {
      name: SANDBOX_IMAGE,
      programs: { 'bin/peer': peer },
      entrypoint: ['/bin/peer', 'pause'],
    }),
    writeImageArchive(directory, 'application.tar', {
      name: APPLICATION_IMAGE,
      programs: { 'bin/peer': peer, 'bin/busybox': busybox },
      links: Object.fromEntries(APPLETS.map((applet) => [`bin/${applet}`, 'busybox'])),
      entrypoint: ['/bin/peer'],
    }),
  ]);
}
