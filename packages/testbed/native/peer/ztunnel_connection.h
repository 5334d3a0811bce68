// One connection that a ztunnel has accepted: what it says of it, whether it goes on, from where, and to where.
#pragma once
#include "open_connections.h"
#include "sockets.h"
#include <memory>
#include <string>
#include <vector>

// What a listener of ztunnel knows of itself.
struct ZtunnelService {
  std::string name;
  std::string pod;              // uid of the workload that it serves; empty where it listens in its own pod
  std::vector<uint16_t> ports;  // ztunnel's config.rs calls its own ports illegal: never a destination
  bool relay = true;            // otherwise its own line is all that a client hears
  bool log = false;             // the line goes to standard output as well
  bool original_source = false; // inbound connections go on from the client's address
  std::shared_ptr<OpenConnections> connections = std::make_shared<OpenConnections>();
};

// Takes everything that waits at a non-blocking listener; each connection gets a thread, in the caller's netns.
void accept_waiting(int listener, uint16_t port, const std::shared_ptr<const ZtunnelService> &service);
