// The system calls of an AF_UNIX SOCK_SEQPACKET socket (unix(7)), each on its own. Nothing here blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "native/descriptor.h"
#include "seqpacket_control.h"

// What is known about the process at the other end, as it was when it called connect(2) or listen(2).
struct SeqpacketPeer {
  PeerCredentials credentials;  // SO_PEERCRED
  Descriptor pidfd;             // invalid when that process is gone
  bool pidfdFromSocket = false; // SO_PEERPIDFD (6.5): never another process with the same pid
};

// A received packet; owns the descriptors that came with it.
struct SeqpacketPacket {
  std::vector<uint8_t> bytes;
  std::vector<Descriptor> descriptors;
  std::optional<PeerCredentials> sender;
  bool truncated = false;        // MSG_TRUNC: the packet was longer than the caller's bound
  bool controlTruncated = false; // MSG_CTRUNC: more descriptors than the caller's bound; the rest never reached us
  bool malformedControl = false;
};

enum class SeqpacketResult { Done, Again, End, Failed };

struct SeqpacketOutcome {
  SeqpacketResult result;
  int error = 0; // positive errno when Failed
  const char *syscall = nullptr;
};

// Identifies the file that a listener made, so that only that file is removed.
struct SocketFile {
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;
};

// The longest path that fits sockaddr_un with its NUL: unix(7).
constexpr size_t longestSocketPath = 107;

// Makes the file (mode 0600 from its first moment) and listens. A file on which nobody listens is replaced; anything
// else at the path is left alone. Throws Failure.
Descriptor listenSeqpacketSocket(const std::string &path, int backlog, SocketFile &file);
// The same, but takes the place of a socket on which another process listens: at every moment connect(2) finds one of
// the two.
Descriptor replaceSeqpacketSocket(const std::string &path, int backlog, SocketFile &file);
// Removes the file, unless something else is at the path by now.
void removeSocketFile(const SocketFile &file);
// Throws Failure; EAGAIN if the listener's queue is full.
Descriptor connectSeqpacketSocket(const std::string &path);
SeqpacketPeer seqpacketPeer(int fd);

SeqpacketOutcome acceptSeqpacket(int listener, Descriptor &connection);
// The descriptors are this process's; if the result is Done, the kernel has references of its own.
SeqpacketOutcome sendSeqpacket(int fd, const uint8_t *bytes, size_t size, const std::vector<int> &descriptors);
SeqpacketOutcome receiveSeqpacket(int fd, size_t maxBytes, size_t maxDescriptors, SeqpacketPacket &packet);
