// One connection that a ztunnel has accepted: what is reported of it, and whether, from where and to where it goes on.
#pragma once
#include "open_connections.h"
#include "sockets.h"
#include <memory>
#include <string>
#include <vector>

// What a listener of ztunnel knows about itself.
struct ZtunnelService {
  std::string name;
  std::string pod;              // uid of the workload that it serves; empty if it listens in its own pod
  std::vector<uint16_t> ports;  // ztunnel's config.rs calls its own ports illegal: never a destination
  bool log = false;             // whether the line goes to standard output as well
  bool original_source = false; // inbound connections go on from the client's address
  std::shared_ptr<OpenConnections> connections = std::make_shared<OpenConnections>();
};

// The line about an accepted connection, without the end of the line.
std::string ztunnel_line(int client, uint16_t port, const ZtunnelService &service);
// Accepts every connection that waits at a non-blocking listener; each gets a thread, in the caller's netns.
void accept_waiting(int listener, uint16_t port, const std::shared_ptr<const ZtunnelService> &service);
