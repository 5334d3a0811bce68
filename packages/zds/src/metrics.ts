// Counters of a ZDS server. They only grow; the last three are present values.

export interface ZdsCounters {
  connectionsAccepted: number;
  connectionsRefused: number;
  acceptErrors: number;
  protocolViolations: number;
  deadlinesMissed: number;
  disconnects: number;
  snapshotsSent: number;
  addsSent: number;
  keepsSent: number;
  delsSent: number;
  acks: number;
  nacks: number;
}

export interface ZdsMetrics extends Readonly<ZdsCounters> {
  /** ztunnels that have said Hello and are connected. */
  readonly connections: number;
  readonly workloads: number;
  /** Workloads that no ztunnel has acknowledged in their present namespace. */
  readonly workloadsUnacked: number;
}

export const zeroCounters = (): ZdsCounters => ({
  connectionsAccepted: 0,
  connectionsRefused: 0,
  acceptErrors: 0,
  protocolViolations: 0,
  deadlinesMissed: 0,
  disconnects: 0,
  snapshotsSent: 0,
  addsSent: 0,
  keepsSent: 0,
  delsSent: 0,
  acks: 0,
  nacks: 0,
});
