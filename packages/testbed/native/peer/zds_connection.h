// The seqpacket socket to the node agent: one packet is one message, and may carry a descriptor.
#pragma once
#include "sockets.h"
#include "zds_message.h"
#include <stdexcept>
#include <string>

// Bytes or descriptors that are not a message: ztunnel refuses them, disconnects, and connects again.
struct UnreadableMessage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ReceivedRequest {
  ZdsRequest request;
  Descriptor netns; // of an Add
};

class ZdsConnection {
public:
  // Throws std::runtime_error if nobody listens or Hello cannot be sent.
  explicit ZdsConnection(const std::string &path);

  int fd() const { return socket_.get(); }
  // False if the other side has closed. Throws UnreadableMessage, and std::runtime_error if the socket is broken.
  bool receive(ReceivedRequest &received);
  // An empty error is an acknowledgement. Throws std::runtime_error.
  void answer(const std::string &error);

private:
  void send_packet(const std::string &bytes);
  Descriptor socket_;
};
