// What ztunnel asks about every accepted connection: where did the client want to go?
#pragma once
#include "address.h"

struct OriginalDestination {
  Address address;
  const char *from; // "SOL_IP", "SOL_IPV6" or "local"
};

// As ztunnel's src/socket.rs does: level SOL_IP, then SOL_IPV6, each with a 128-byte buffer, and after any error the
// local address; the result is un-mapped.
OriginalDestination original_destination(int fd);
