// The sockets of a ztunnel, with the options that it gives them.
#pragma once
#include "address.h"
#include "sockets.h"
#include <optional>

constexpr uint16_t OUTBOUND_PORT = 15001, INBOUND_PORT = 15006, HBONE_PORT = 15008, DNS_PORT = 15053; // its config.rs

// A TCP listener in the caller's netns. `transparent` is tried, as ztunnel tries it. Throws std::runtime_error.
Descriptor ztunnel_listener(const Address &at, bool transparent);
// The same for UDP.
Descriptor ztunnel_datagram_socket(const Address &at);
// Whether the caller's netns has the address.
bool is_own_address(Address address);
// A connection from the caller's netns; with `source`, from that IP address, which may be a foreign one. Below 0 with
// errno.
Descriptor ztunnel_dial(const Address &to, const std::optional<Address> &source);
