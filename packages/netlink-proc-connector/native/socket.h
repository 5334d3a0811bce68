// The netlink socket of the proc connector: opened, subscribed and acknowledged, or an error that says which step
// failed.
#pragma once
#include "native/descriptor.h"
#include "native/failure.h"
#include "parse.h"
#include <vector>

// The object that failures name.
inline constexpr char procConnector[] = "proc connector";

class ConnectorSocket {
public:
  // Opens and subscribes. receive_buffer_bytes is given to SO_RCVBUFFORCE (the kernel doubles it for its own
  // bookkeeping); 0 leaves the system's default. parser sees every message that comes before the acknowledgement, so
  // that its sequence numbers start there. Throws Failure: from socket, setsockopt, bind, send, or, as
  // PROC_CN_MCAST_LISTEN, the kernel's refusal or ETIMEDOUT when it did not answer within ack_timeout_ms.
  ConnectorSocket(int receiveBufferBytes, int ackTimeoutMs, Parser &parser);
  ~ConnectorSocket();
  ConnectorSocket(const ConnectorSocket &) = delete;
  ConnectorSocket &operator=(const ConnectorSocket &) = delete;

  int fd() const { return fd_.get(); }
  // What the kernel really reserved, in bytes, its doubling included.
  int receiveBufferBytes() const;

private:
  void awaitAck(uint32_t token, int timeoutMs, Parser &parser);
  Descriptor fd_;
};
