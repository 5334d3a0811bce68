// The fixed-size record that crosses from the reader thread to JavaScript. src/batch.ts decodes the same layout: change
// both together (recordBytes guards the size).
#pragma once
#include <cstddef>
#include <cstdint>

// Event kinds as the kernel numbers them (enum what in include/uapi/linux/cn_proc.h), and one of our own.
enum Kind : uint32_t {
  kindAck = 0x00000000, // PROC_EVENT_NONE: the kernel's answer to a subscription; never handed to JavaScript
  kindFork = 0x00000001,
  kindExec = 0x00000002,
  kindUid = 0x00000004,
  kindGid = 0x00000040,
  kindSid = 0x00000080,
  kindPtrace = 0x00000100,
  kindComm = 0x00000200,
  kindCoredump = 0x40000000,
  kindExit = 0x80000000,
  kindOverrun = 0x20000000, // not a kernel value: something was lost at this place
};

// Why an overrun happened: args[0] of a kindOverrun record.
enum OverrunCause : uint32_t {
  causeSocket = 1, // the kernel could not queue messages on our socket, or a message could not be parsed
  causeRing = 2,   // JavaScript took too long and the ring was full
};

constexpr uint32_t unknownCpu = 0xffffffff;

// Host byte order. What args hold, by kind:
//   fork      parent pid, parent tgid          (pid and tgid are the child's)
//   exit      exit code, exit signal, parent pid, parent tgid
//   uid, gid  real id, effective id
//   ptrace    tracer pid, tracer tgid
//   coredump  parent pid, parent tgid
//   overrun   cause, 1 if the number lost is known, the number lost (it saturates at 2^32 - 1)
// comm is set for kindComm only and ends in a NUL.
struct Record {
  uint32_t kind = kindAck;
  uint32_t cpu = unknownCpu;
  uint64_t timestampNs = 0; // CLOCK_MONOTONIC
  int32_t pid = 0;
  int32_t tgid = 0;
  uint32_t args[4] = {};
  char comm[16] = {};
  uint32_t seq = 0; // the CPU's own message number
  uint32_t ack = 0; // cn_msg.ack: tells our acknowledgement from another listener's
};

constexpr size_t recordBytes = 64;
static_assert(sizeof(Record) == recordBytes, "src/batch.ts decodes this layout");

inline Record makeOverrun(OverrunCause cause, uint32_t cpu, uint64_t timestampNs, bool known, uint64_t lost) {
  Record record;
  record.kind = kindOverrun;
  record.cpu = cpu;
  record.timestampNs = timestampNs;
  record.args[0] = cause;
  record.args[1] = known ? 1 : 0;
  record.args[2] = lost > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(lost);
  return record;
}
