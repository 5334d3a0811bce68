// The one thread that waits for every seqpacket socket of an environment. JavaScript requests one thing at a time (the
// next connection, the next packet, room for a packet) and gets one completion for it, so a peer that floods fills only
// its own socket's queue in the kernel.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "native/descriptor.h"
#include "native/thread.h"
#include "seqpacket_socket.h"

using SocketId = uint32_t;  // never used twice
using RequestId = uint32_t; // chosen by the caller

struct SeqpacketCompletion {
  RequestId request = 0;
  SocketId socket = 0; // the socket of the request; for an accepted connection, the new socket
  enum class Kind { Accepted, Received, Ended, Sent, Failed } kind = Kind::Failed;
  int error = 0; // positive errno when Failed
  const char *syscall = nullptr;
  SeqpacketPeer peer;     // Accepted
  SeqpacketPacket packet; // Received
};

class SeqpacketLoop {
public:
  // `wake` is called on the thread, at most once until take() has been called. Throws Failure.
  explicit SeqpacketLoop(std::function<void()> wake);
  ~SeqpacketLoop();
  SeqpacketLoop(const SeqpacketLoop &) = delete;
  SeqpacketLoop &operator=(const SeqpacketLoop &) = delete;

  SocketId add(Descriptor fd, std::optional<SocketFile> file);
  // At most one accept or receive at a time on each socket: the caller ensures it. On a closed socket both do nothing.
  void accept(SocketId socket, RequestId request);
  void receive(SocketId socket, RequestId request, size_t maxBytes, size_t maxDescriptors);
  // True: the kernel has it. False: it waits for room, with duplicated descriptors, and a completion will come. Throws
  // Failure.
  bool send(SocketId socket, RequestId request, std::vector<uint8_t> bytes, const std::vector<int> &descriptors);
  // True if a packet, the end or an error waits to be received, or is on its way to the caller.
  bool readable(SocketId socket);
  // shutdown(2) SHUT_WR. Throws Failure.
  void endSending(SocketId socket);
  // Idempotent. Requests under way get no completion any more, unless it is already on its way.
  void close(SocketId socket);
  // What has been completed since the last call.
  std::vector<SeqpacketCompletion> take();

private:
  struct Outgoing {
    RequestId request;
    std::vector<uint8_t> bytes;
    std::vector<Descriptor> descriptors;
  };
  struct Socket {
    Descriptor fd;
    std::optional<SocketFile> file; // a listener has one
    std::optional<RequestId> awaited;
    size_t maxBytes = 0;
    size_t maxDescriptors = 0;
    std::deque<Outgoing> outgoing;
    uint32_t interest = 0; // the requested epoll events; 0: not in the epoll set
    explicit Socket(Descriptor owned) : fd(std::move(owned)) {}
  };

  void run();
  void handle(SocketId id, uint32_t events);
  void handleAwaited(SocketId id, Socket &socket, bool broken);
  void handleOutgoing(SocketId id, Socket &socket, bool broken);
  void updateInterest(SocketId id, Socket &socket);
  void complete(SeqpacketCompletion completion);

  const std::function<void()> wake_;
  Descriptor epoll_;
  Descriptor stop_;
  std::mutex mutex_; // guards everything below, and every use of a socket
  std::map<SocketId, Socket> sockets_;
  SocketId nextSocket_ = 1;
  std::vector<SeqpacketCompletion> completions_;
  bool waking_ = false;
  Thread thread_;
};
