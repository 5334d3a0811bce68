// One dial: the request, its result, and what the acceptors said.
#pragma once
#include "address.h"
#include "connecting.h"
#include <optional>
#include <string>
#include <vector>

struct DialRequest {
  std::string to; // as it was written, for the answer
  Address address;
  Method method = Method::plain;
  std::string method_name = "plain";
  std::string device;       // SO_BINDTODEVICE, if it is not empty
  bool transparent = false; // IP_TRANSPARENT: `bind` may be an address that nobody has
  bool late_port = false;   // IP_BIND_ADDRESS_NO_PORT: connect() chooses the port of `bind`, if that is 0
  std::optional<Address> bind;
  std::optional<Address> second; // connected on the same socket when the first connection has ended
  std::string second_text;
  std::optional<Address> beside; // connected from the same source by another socket, while the first is connected
  std::string beside_text;
  int mark = 0;
  long long timeout_ms = PATIENCE_MS;
  bool reset = false; // ends the connection with RST, so that its port is free at once
};

struct DialOutcome {
  int error = 0; // errno of the connect, 0 if it succeeded
  std::string peer_name, socket_name;
  uint32_t mark = 0;             // SO_MARK after the connect
  std::string device;            // SO_BINDTODEVICE after the connect
  std::vector<std::string> hops; // the lines read, in order
  bool ended = false;            // the other side closed in an orderly way
  int read_error = 0;
};

DialOutcome dial(const DialRequest &request);
// The same, and `fd` stays connected.
DialOutcome dial_and_keep(const DialRequest &request, Descriptor &fd);
// Dials, and makes the other connects that are asked for; returns the result as one JSON line.
std::string dial_as_json(const DialRequest &request);
