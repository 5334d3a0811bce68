// peer resolve: asks DNS servers for an address, in the ways of resolvers: connected or not, one server or several with
// one socket, UDP or TCP. It says where each answer came from, as the socket calls show it.
#include "commands.h"
#include "dns_message.h"
#include "json.h"
#include "options.h"
#include "sockets.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <poll.h>

namespace {
struct Query {
  std::vector<std::string> texts;
  std::vector<Address> servers; // of one family: IPv4 addresses are mapped if one is IPv6
  DnsQuestion question;
  long long deadline = 0;
};

struct Answer {
  size_t server;
  std::string address, from;
};

struct Outcome {
  int error = 0;
  std::string peer_name, socket_name;
  std::vector<Answer> answers;
};

std::string text_or_empty(const Address &address) {
  return address.length == 0 ? "" : to_text(address);
}

// Each server is asked with its own id, so that the answers can be told apart.
std::string packet_for(const Query &query, size_t server) {
  DnsQuestion question = query.question;
  question.id = static_cast<uint16_t>(question.id + server);
  return encode_question(question);
}

void note(const Query &query, std::string_view message, const std::string &from, Outcome &outcome) {
  const std::optional<DnsAnswer> answer = decode_answer(message);
  if (!answer)
    return;
  const size_t server = static_cast<uint16_t>(answer->id - query.question.id);
  if (server < query.servers.size())
    outcome.answers.push_back({server, answer->address, from});
}

Outcome by_udp(const Query &query, bool connected) {
  Outcome outcome;
  const Descriptor fd(socket(query.servers.front().family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto failed = [&outcome] {
    outcome.error = errno;
    return outcome;
  };
  if (fd.get() < 0)
    return failed();
  if (connected && connect(fd.get(), query.servers[0].raw(), query.servers[0].length) != 0)
    return failed();
  for (size_t i = 0; i < query.servers.size(); i++) {
    const std::string packet = packet_for(query, i);
    const Address &server = query.servers[i];
    const ssize_t sent = connected ? send(fd.get(), packet.data(), packet.size(), 0)
                                   : sendto(fd.get(), packet.data(), packet.size(), 0, server.raw(), server.length);
    if (sent < 0)
      return failed();
  }
  outcome.peer_name = text_or_empty(peer_address(fd.get()));
  outcome.socket_name = text_or_empty(local_address(fd.get()));
  while (outcome.answers.size() < query.servers.size()) {
    if (!wait_for(fd.get(), POLLIN, query.deadline)) {
      outcome.error = ETIMEDOUT;
      break;
    }
    char buffer[4096];
    Address from;
    from.length = sizeof from.storage;
    const ssize_t count = recvfrom(fd.get(), buffer, sizeof buffer, 0, from.raw(), &from.length);
    if (count < 0)
      return failed();
    note(query, {buffer, static_cast<size_t>(count)}, text_or_empty(from), outcome);
  }
  return outcome;
}

// One connection to each server, one after the other.
Outcome by_tcp(const Query &query) {
  Outcome outcome;
  for (size_t i = 0; i < query.servers.size(); i++) {
    const Address &server = query.servers[i];
    const Descriptor fd(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0 || (connect(fd.get(), server.raw(), server.length) != 0 && errno != EINPROGRESS)) {
      outcome.error = errno;
      continue;
    }
    socklen_t length = sizeof outcome.error;
    if (!wait_for(fd.get(), POLLOUT, query.deadline))
      outcome.error = ETIMEDOUT;
    else
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &outcome.error, &length);
    if (outcome.error != 0)
      continue;
    outcome.peer_name = text_or_empty(peer_address(fd.get()));
    outcome.socket_name = text_or_empty(local_address(fd.get()));
    const std::string packet = packet_for(query, i);
    const char prefix[] = {static_cast<char>(packet.size() >> 8), static_cast<char>(packet.size() & 0xff)};
    send_all(fd.get(), std::string(prefix, sizeof prefix) + packet);
    std::string reply;
    for (size_t wanted = 2; reply.size() < wanted;) {
      char buffer[4096];
      if (!wait_for(fd.get(), POLLIN, query.deadline)) {
        outcome.error = ETIMEDOUT;
        break;
      }
      const ssize_t count = recv(fd.get(), buffer, sizeof buffer, 0);
      if (count <= 0) {
        outcome.error = count < 0 ? errno : EPIPE; // closed without an answer
        break;
      }
      reply.append(buffer, static_cast<size_t>(count));
      if (reply.size() >= 2)
        wanted = 2 + static_cast<size_t>(static_cast<uint8_t>(reply[0]) << 8 | static_cast<uint8_t>(reply[1]));
    }
    if (outcome.error == 0)
      note(query, std::string_view(reply).substr(2), outcome.peer_name, outcome);
  }
  return outcome;
}

std::string as_json(const Query &query, const Outcome &outcome) {
  std::string answers = "[";
  for (const Answer &answer : outcome.answers) {
    answers += answers.size() > 1 ? "," : "";
    answers += JsonLine()
                   .text("server", query.texts[answer.server])
                   .text("answer", answer.address)
                   .text("from", answer.from)
                   .str();
  }
  return JsonLine()
      .text("error", outcome.error == 0 ? "" : strerrorname_np(outcome.error))
      .text("peername", outcome.peer_name)
      .text("sockname", outcome.socket_name)
      .raw("answers", answers + "]")
      .str();
}
} // namespace

int run_resolve(int argc, char **argv) {
  const Options options(argc, argv, {"tcp", "connected"});
  Query query;
  query.texts = options.all("server");
  bool wide = false;
  for (const std::string &text : query.texts) {
    query.servers.push_back(parse_address(text));
    wide = wide || query.servers.back().family() == AF_INET6;
  }
  if (query.servers.empty())
    throw std::runtime_error("--server is missing");
  if (options.has("connected") && query.servers.size() > 1)
    throw std::runtime_error("--connected goes with one --server");
  if (wide && !options.has("tcp"))
    for (Address &server : query.servers)
      server = mapped(server);
  query.question = {1, options.get("name", "a.example"),
                    options.get("type", "A") == "AAAA" ? DNS_TYPE_AAAA : DNS_TYPE_A};
  query.deadline = now_ms() + options.number("timeout", PATIENCE_MS);
  puts(as_json(query, options.has("tcp") ? by_tcp(query) : by_udp(query, options.has("connected"))).c_str());
  return 0;
}
