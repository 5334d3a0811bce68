// Checks that the plumbing of a network namespace works, before any pod's namespace is changed.
import { Netns } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';
import { checkState, ensureState, wantedParts, type WantedState } from './netns-state.js';
import { UNBOUND, type WantedParts } from './parts.js';

/** Plumbs a namespace of its own as it would a pod's that is captured by route, and drops it. */
export const checkPodPlumbing = ({
  paths,
  ambient,
}: Pick<AgentConfig, 'paths' | 'ambient'>): Effect.Effect<void, StartupError> =>
  Effect.try({
    try: () => {
      using netns = Netns.create();
      const { proc: procPath } = paths;
      const wanted: WantedState = { ipv6: ambient.ipv6, procPath, capture: { by: 'route', podIps: [] } };
      // The loopback's addresses stand for those of a pod. Without them, the routes lead nowhere.
      const nowhere = wantedParts(netns, wanted, []);
      const local: WantedParts = {
        ...nowhere,
        capture: nowhere.capture.map(({ family }) => ({
          family,
          ways: [{ device: 'lo', ifindex: UNBOUND, source: family === 4 ? '127.0.0.1' : '::1' }],
        })),
      };
      for (const parts of [nowhere, local]) {
        ensureState(netns, parts, { procPath });
        const missing = checkState(netns, parts, { procPath });
        if (missing.length > 0) throw new Error(`it has no ${missing.join(', ')} although they were added`);
      }
    },
    catch: (error) => {
      const message =
        `a network namespace cannot be set up for ztunnel, tried in one of the agent’s own: ${messageOf(error)}; ` +
        'the kernel has to have CONFIG_IP_MULTIPLE_TABLES and CONFIG_IPV6_MULTIPLE_TABLES; ' +
        '/proc/sys/net has to be writable below `paths.proc`';
      return new StartupError({ check: 'kernel', message });
    },
  });
