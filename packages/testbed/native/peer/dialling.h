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
  std::optional<Address> bind;
  std::optional<Address> second; // connected on the same socket when the first connection has ended
  std::string second_text;
  int mark = 0;
  long long timeout_ms = PATIENCE_MS;
  bool reset = false; // ends the connection with RST, so that its port is free at once
};

struct DialOutcome {
  int error = 0; // errno of the connect, 0 if it succeeded
  std::string peer_name, socket_name;
  std::vector<std::string> hops; // the lines read, in order
  bool ended = false;            // the other side closed in an orderly way
  int read_error = 0;
};

DialOutcome dial(const DialRequest &request);
// Dials, and makes the second connect on the same socket; returns the result as one JSON line.
std::string dial_as_json(const DialRequest &request);
