// The messages of every failure, including those that this machine cannot produce.
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { openProcConnector } from '../src/index.js';
import { explainOpenFailure, namespaceFacts } from '../src/error.js';

const INITIAL = { initialPid: true, initialUser: true };
const failure = (syscall: string, code: keyof typeof constants.errno) => ({
  syscall,
  code,
  errno: constants.errno[code],
});

describe('explainOpenFailure', () => {
  it.each([
    ['send', 'EPERM', INITIAL, /send failed with EPERM: .*CAP_NET_ADMIN.*run as root/],
    ['bind', 'EPERM', INITIAL, /bind failed with EPERM: .*CAP_NET_ADMIN.*run as root/],
    ['PROC_CN_MCAST_LISTEN', 'EPERM', INITIAL, /CAP_NET_ADMIN.*run as root/],
    ['setsockopt', 'EPERM', INITIAL, /SO_RCVBUFFORCE.*CAP_NET_ADMIN.*run as root/],
    ['send', 'ECONNREFUSED', INITIAL, /initial network namespace.*hostNetwork: true/],
    ['socket', 'EPROTONOSUPPORT', INITIAL, /CONFIG_CONNECTOR=y and CONFIG_PROC_EVENTS=y/],
    ['PROC_CN_MCAST_LISTEN', 'ETIMEDOUT', INITIAL, /did not answer.*without CONFIG_PROC_EVENTS=y/],
    ['PROC_CN_MCAST_LISTEN', 'ETIMEDOUT', { ...INITIAL, initialPid: false }, /another pid namespace.*hostPID: true/],
    [
      'PROC_CN_MCAST_LISTEN',
      'ETIMEDOUT',
      { ...INITIAL, initialUser: false },
      /another user namespace.*hostUsers: true/,
    ],
    [
      'PROC_CN_MCAST_LISTEN',
      'ETIMEDOUT',
      { initialPid: false, initialUser: false },
      /pid and user namespace.*hostPID.* and .*hostUsers/,
    ],
    ['socket', 'EMFILE', INITIAL, /socket failed with EMFILE: no cause is known/],
  ] as const)('%s %s', (syscall, code, namespaces, expected) => {
    expect(explainOpenFailure(failure(syscall, code), namespaces)).toMatch(expected);
  });

  it('says nothing about namespaces that it cannot see', () => {
    const unseen = namespaceFacts('/nonexistent');
    expect(unseen).toEqual({ initialPid: undefined, initialUser: undefined });
    expect(explainOpenFailure(failure('PROC_CN_MCAST_LISTEN', 'ETIMEDOUT'), unseen)).toMatch(
      /either .*CONFIG_PROC_EVENTS.*or/,
    );
  });
});

describe('openProcConnector', () => {
  it.each([
    [{ ringRecords: 0 }, 'ringRecords is 0; it has to be an integer from 1 to 16777216'],
    [{ receiveBufferBytes: -1 }, 'receiveBufferBytes is -1'],
    [{ lingerMs: 1.5 }, 'lingerMs is 1.5'],
    [{ ackTimeoutMs: 0 }, 'ackTimeoutMs is 0'],
  ])('refuses %o', (options, message) => {
    expect(() => openProcConnector({ onBatch: () => undefined, ...options })).toThrow(message);
  });
});
