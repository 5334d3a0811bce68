// One dial from socket() to close(); see dialling.h.
#include "dialling.h"
#include "json.h"
#include <cerrno>
#include <cstring>
#include <poll.h>

namespace {
std::string text_or_empty(const Address &address) {
  return address.length == 0 ? "" : to_text(address);
}

void read_hops(int fd, long long deadline_ms, DialOutcome &outcome) {
  std::string text;
  for (;;) {
    if (!wait_for(fd, POLLIN, deadline_ms)) {
      outcome.read_error = ETIMEDOUT;
      break;
    }
    char buffer[4096];
    const ssize_t count = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && (errno == EINTR || errno == EAGAIN))
      continue;
    if (count <= 0) {
      outcome.ended = count == 0;
      outcome.read_error = count < 0 ? errno : 0;
      break;
    }
    text.append(buffer, static_cast<size_t>(count));
    // A server that echoes keeps the connection open and sends nothing more by itself.
    if (text.back() == '\n' && text.find("\"echo\":true") != std::string::npos)
      break;
  }
  for (size_t start = 0; start < text.size();) {
    size_t end = text.find('\n', start);
    if (end == std::string::npos)
      end = text.size();
    if (end > start)
      outcome.hops.push_back(text.substr(start, end - start));
    start = end + 1;
  }
}

DialOutcome connect_and_read(int fd, Method method, const Address &to, long long timeout_ms) {
  const long long deadline = now_ms() + timeout_ms;
  DialOutcome outcome;
  outcome.error = connect_by(method, fd, to, deadline);
  outcome.socket_name = text_or_empty(local_address(fd));
  outcome.peer_name = text_or_empty(peer_address(fd));
  if (outcome.error == 0 && method != Method::udp)
    read_hops(fd, deadline, outcome);
  return outcome;
}

// On AF_INET6 sockets an IPv4 address is written as a mapped one.
Address fit(const Address &address, int family) {
  return family == AF_INET6 ? mapped(address) : unmapped(address);
}

Descriptor prepare(const DialRequest &request, int &error) {
  const int family = request.address.family();
  Descriptor fd = socket_for(request.method, family);
  error = fd.get() < 0 ? errno : 0;
  if (error != 0)
    return fd;
  if (request.mark != 0 && setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &request.mark, sizeof request.mark) != 0)
    error = errno;
  if (error == 0 && request.bind) {
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const Address from = fit(*request.bind, family);
    if (bind(fd.get(), from.raw(), from.length) != 0)
      error = errno;
  }
  return fd;
}

DialOutcome not_dialled(int error) {
  DialOutcome outcome;
  outcome.error = error;
  return outcome;
}

std::string as_json(const std::string &to, const std::string &method, const DialOutcome &outcome,
                    const std::string &second) {
  std::string hops = "[";
  for (const std::string &hop : outcome.hops) {
    if (hops.size() > 1)
      hops += ',';
    const bool is_json = hop.front() == '{' && hop.back() == '}';
    hops += is_json ? hop : json_string(hop);
  }
  JsonLine line;
  line.text("to", to)
      .boolean("ok", outcome.error == 0)
      .number("errno", outcome.error)
      .text("error", outcome.error == 0 ? "" : strerrorname_np(outcome.error))
      .text("peername", outcome.peer_name)
      .text("sockname", outcome.socket_name)
      .raw("hops", hops + "]")
      .boolean("ended", outcome.ended)
      .text("readError", outcome.read_error == 0 ? "" : strerrorname_np(outcome.read_error))
      .text("method", method);
  if (!second.empty())
    line.raw("second", second);
  return line.str();
}
} // namespace

DialOutcome dial(const DialRequest &request) {
  int error = 0;
  Descriptor fd = prepare(request, error);
  if (error != 0)
    return not_dialled(error);
  DialOutcome outcome = connect_and_read(fd.get(), request.method, request.address, request.timeout_ms);
  if (request.reset)
    close_abruptly(std::move(fd));
  return outcome;
}

std::string dial_as_json(const DialRequest &request) {
  if (!request.second)
    return as_json(request.to, request.method_name, dial(request), "");
  int error = 0;
  const Descriptor fd = prepare(request, error);
  if (error != 0)
    return as_json(request.to, request.method_name, not_dialled(error), "");
  const DialOutcome first = connect_and_read(fd.get(), request.method, request.address, request.timeout_ms);
  if (first.error == 0) {
    sockaddr unspecified{};
    unspecified.sa_family = AF_UNSPEC; // dissolves the association (connect(2))
    connect(fd.get(), &unspecified, sizeof unspecified);
  }
  const Address to = fit(*request.second, request.address.family());
  const DialOutcome second = connect_and_read(fd.get(), request.method, to, request.timeout_ms);
  return as_json(request.to, request.method_name, first, as_json(request.second_text, request.method_name, second, ""));
}
