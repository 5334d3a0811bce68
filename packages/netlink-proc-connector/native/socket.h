// The netlink socket of the proc connector: opened, subscribed and acknowledged, or an error that says which step
// failed.
#pragma once
#include "native/descriptor.h"
#include "native/failure.h"
#include "parse.h"
#include <vector>

namespace sluice {

// What failures are about.
inline constexpr char kObject[] = "proc connector";

class ConnectorSocket {
public:
  // Opens and subscribes. receive_buffer_bytes is given to SO_RCVBUFFORCE (the kernel doubles it for its own
  // bookkeeping); 0 leaves the system's default. parser sees every message that comes before the acknowledgement, so
  // that its sequence numbers start there. Throws Failure: from socket, setsockopt, bind, send, or, as
  // PROC_CN_MCAST_LISTEN, the kernel's refusal or ETIMEDOUT when it did not answer within ack_timeout_ms.
  ConnectorSocket(int receive_buffer_bytes, int ack_timeout_ms, Parser &parser);
  ~ConnectorSocket();
  ConnectorSocket(const ConnectorSocket &) = delete;
  ConnectorSocket &operator=(const ConnectorSocket &) = delete;

  int fd() const { return fd_.get(); }
  // What the kernel really reserved, in bytes, its doubling included.
  int receive_buffer_bytes() const;

private:
  void AwaitAck(uint32_t token, int timeout_ms, Parser &parser);
  Descriptor fd_;
};

} // namespace sluice
