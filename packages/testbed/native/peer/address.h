// Socket addresses as text: "10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80".
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>
#include <string>

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  bool is_loopback() const;
  const sockaddr *raw() const { return reinterpret_cast<const sockaddr *>(&storage); }
  sockaddr *raw() { return reinterpret_cast<sockaddr *>(&storage); }
};

// The bracket form of an IPv4-mapped address stays an AF_INET6 address. Throws std::runtime_error.
Address parse_address(const std::string &text);
// An IP address without a port.
Address parse_ip(const std::string &text, uint16_t port);
// ::ffff:a.b.c.d becomes a.b.c.d; anything else is returned as it is. ztunnel does the same.
Address unmapped(const Address &address);
// a.b.c.d becomes ::ffff:a.b.c.d, for a bind() or connect() on an AF_INET6 socket.
Address mapped(const Address &address);
std::string to_text(const Address &address);
Address local_address(int fd);
// Leaves length at 0 when the socket has no peer.
Address peer_address(int fd);
