// Parsing and printing of socket addresses; see address.h.
#include "address.h"
#include <arpa/inet.h>
#include <cstring>
#include <stdexcept>

namespace {
const sockaddr_in &v4(const Address &a) {
  return reinterpret_cast<const sockaddr_in &>(a.storage);
}
sockaddr_in &v4(Address &a) {
  return reinterpret_cast<sockaddr_in &>(a.storage);
}
const sockaddr_in6 &v6(const Address &a) {
  return reinterpret_cast<const sockaddr_in6 &>(a.storage);
}
sockaddr_in6 &v6(Address &a) {
  return reinterpret_cast<sockaddr_in6 &>(a.storage);
}
} // namespace

uint16_t Address::port() const {
  return ntohs(family() == AF_INET ? v4(*this).sin_port : v6(*this).sin6_port);
}

void Address::set_port(uint16_t port) {
  if (family() == AF_INET)
    v4(*this).sin_port = htons(port);
  else
    v6(*this).sin6_port = htons(port);
}

bool Address::is_loopback() const {
  const Address plain = unmapped(*this);
  if (plain.family() == AF_INET)
    return ntohl(v4(plain).sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&v6(plain).sin6_addr);
}

Address parse_ip(const std::string &text, uint16_t port) {
  Address address;
  if (inet_pton(AF_INET, text.c_str(), &v4(address).sin_addr) == 1) {
    address.storage.ss_family = AF_INET;
    address.length = sizeof(sockaddr_in);
  } else if (inet_pton(AF_INET6, text.c_str(), &v6(address).sin6_addr) == 1) {
    address.storage.ss_family = AF_INET6;
    address.length = sizeof(sockaddr_in6);
  } else {
    throw std::runtime_error("'" + text + "' is not an IP address");
  }
  address.set_port(port);
  return address;
}

Address parse_address(const std::string &text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
    throw std::runtime_error("'" + text + "' is not ip:port or [ip]:port");
  const unsigned long port = std::stoul(text.substr(colon + 1));
  if (port > UINT16_MAX)
    throw std::runtime_error("'" + text + "' has a port above 65535");
  std::string ip = text.substr(0, colon);
  if (ip.front() == '[' && ip.back() == ']')
    ip = ip.substr(1, ip.size() - 2);
  return parse_ip(ip, static_cast<uint16_t>(port));
}

Address unmapped(const Address &address) {
  if (address.family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6(address).sin6_addr))
    return address;
  Address plain;
  plain.storage.ss_family = AF_INET;
  plain.length = sizeof(sockaddr_in);
  v4(plain).sin_port = v6(address).sin6_port;
  memcpy(&v4(plain).sin_addr, &v6(address).sin6_addr.s6_addr[12], 4);
  return plain;
}

Address mapped(const Address &address) {
  if (address.family() != AF_INET)
    return address;
  Address wide;
  wide.storage.ss_family = AF_INET6;
  wide.length = sizeof(sockaddr_in6);
  v6(wide).sin6_port = v4(address).sin_port;
  v6(wide).sin6_addr.s6_addr[10] = v6(wide).sin6_addr.s6_addr[11] = 0xff;
  memcpy(&v6(wide).sin6_addr.s6_addr[12], &v4(address).sin_addr, 4);
  return wide;
}

std::string to_text(const Address &address) {
  char ip[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    inet_ntop(AF_INET, &v4(address).sin_addr, ip, sizeof ip);
    return std::string(ip) + ":" + std::to_string(address.port());
  }
  if (address.family() == AF_INET6) {
    inet_ntop(AF_INET6, &v6(address).sin6_addr, ip, sizeof ip);
    return "[" + std::string(ip) + "]:" + std::to_string(address.port());
  }
  return "";
}

Address local_address(int fd) {
  Address address;
  address.length = sizeof address.storage;
  if (getsockname(fd, address.raw(), &address.length) != 0)
    return {};
  return address;
}

Address peer_address(int fd) {
  Address address;
  address.length = sizeof address.storage;
  if (getpeername(fd, address.raw(), &address.length) != 0)
    return {};
  return address;
}
