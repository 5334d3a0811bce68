// See dns_service.h.
#include "dns_service.h"
#include "dns_message.h"
#include "json.h"
#include "report.h"
#include "sockets.h"
#include <cerrno>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace {
constexpr size_t LARGEST_MESSAGE = 65535;

std::string bytes_of(const std::string &ip) {
  const Address address = parse_ip(ip, 0);
  if (address.family() == AF_INET) {
    const auto &v4 = reinterpret_cast<const sockaddr_in &>(address.storage);
    return {reinterpret_cast<const char *>(&v4.sin_addr), sizeof v4.sin_addr};
  }
  const auto &v6 = reinterpret_cast<const sockaddr_in6 &>(address.storage);
  return {reinterpret_cast<const char *>(&v6.sin6_addr), sizeof v6.sin6_addr};
}

// Empty for what is not a query: a server does not answer that.
std::string reply_to(std::string_view query, const char *protocol, const Address &peer, const DnsService &service) {
  const std::optional<DnsQuestion> question = decode_question(query);
  if (!question)
    return "";
  JsonLine line;
  line.text("event", "query")
      .text("by", service.name)
      .text("protocol", protocol)
      .text("name", question->name)
      .number("type", question->type)
      .text("peer", to_text(unmapped(peer)));
  if (!service.pod.empty())
    line.text("pod", service.pod);
  report(line.str());
  if (question->type == DNS_TYPE_A)
    return encode_answer(*question, bytes_of(service.ip4));
  if (question->type == DNS_TYPE_AAAA)
    return encode_answer(*question, bytes_of(service.ip6));
  return encode_answer(*question, "");
}

bool receive_exactly(int fd, char *to, size_t size) {
  while (size > 0) {
    if (!wait_for(fd, POLLIN, now_ms() + PATIENCE_MS))
      return false;
    const ssize_t count = recv(fd, to, size, 0);
    if (count <= 0)
      return false;
    to += count;
    size -= static_cast<size_t>(count);
  }
  return true;
}

// Each message is preceded by its length in two bytes (RFC 1035, 4.2.2).
void serve_connection(const Descriptor &client, const DnsService &service) {
  for (;;) {
    uint8_t length[2];
    if (!receive_exactly(client.get(), reinterpret_cast<char *>(length), sizeof length))
      return;
    std::string query(static_cast<size_t>(length[0] << 8 | length[1]), '\0');
    if (!receive_exactly(client.get(), query.data(), query.size()))
      return;
    const std::string reply = reply_to(query, "tcp", peer_address(client.get()), service);
    const char prefix[] = {static_cast<char>(reply.size() >> 8), static_cast<char>(reply.size() & 0xff)};
    if (reply.empty() || !send_all(client.get(), std::string(prefix, sizeof prefix) + reply))
      return;
  }
}
} // namespace

void answer_waiting_datagrams(int socket, const DnsService &service) {
  std::string query(LARGEST_MESSAGE, '\0');
  for (;;) {
    Address peer;
    peer.length = sizeof peer.storage;
    const ssize_t count = recvfrom(socket, query.data(), query.size(), MSG_DONTWAIT, peer.raw(), &peer.length);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return;
    const std::string reply = reply_to({query.data(), static_cast<size_t>(count)}, "udp", peer, service);
    if (!reply.empty())
      sendto(socket, reply.data(), reply.size(), MSG_NOSIGNAL, peer.raw(), peer.length);
  }
}

void accept_waiting_dns(int listener, const std::shared_ptr<const DnsService> &service) {
  for (;;) {
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0)
      std::thread([client, service] { serve_connection(Descriptor(client), *service); }).detach();
    else if (errno != EINTR && errno != ECONNABORTED)
      return;
  }
}
