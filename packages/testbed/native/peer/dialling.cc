// One dial from socket() to close(); see dialling.h.
#include "dialling.h"
#include "json.h"
#include <cerrno>
#include <cstring>
#include <net/if.h>
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

uint32_t mark_of(int fd) {
  uint32_t mark = 0;
  socklen_t length = sizeof mark;
  getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &length);
  return mark;
}

std::string device_of(int fd) {
  char name[IFNAMSIZ] = "";
  socklen_t length = sizeof name;
  return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length) == 0 ? name : "";
}

DialOutcome connect_only(int fd, Method method, const Address &to, long long deadline_ms) {
  DialOutcome outcome;
  outcome.error = connect_by(method, fd, to, deadline_ms);
  outcome.socket_name = text_or_empty(local_address(fd));
  outcome.peer_name = text_or_empty(peer_address(fd));
  outcome.mark = mark_of(fd);
  outcome.device = device_of(fd);
  return outcome;
}

void read_if_connected(int fd, Method method, long long deadline_ms, DialOutcome &outcome) {
  if (outcome.error == 0 && method != Method::udp)
    read_hops(fd, deadline_ms, outcome);
}

DialOutcome connect_and_read(int fd, Method method, const Address &to, long long timeout_ms) {
  const long long deadline = now_ms() + timeout_ms;
  DialOutcome outcome = connect_only(fd, method, to, deadline);
  read_if_connected(fd, method, deadline, outcome);
  return outcome;
}

// On AF_INET6 sockets an IPv4 address is written as a mapped one.
Address fit(const Address &address, int family) {
  return family == AF_INET6 ? mapped(address) : unmapped(address);
}

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24 // linux/in.h
#endif

// 0 or an errno. The two options of SOL_IP are one bit each for both families; this level sets them on AF_INET6
// sockets, too.
int set_options(int fd, const DialRequest &request) {
  const int on = 1;
  const std::string &device = request.device;
  if ((request.mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &request.mark, sizeof request.mark) != 0) ||
      (!device.empty() && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(), device.size()) != 0) ||
      (request.transparent && setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on) != 0) ||
      (request.late_port && setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0))
    return errno;
  return 0;
}

Descriptor prepare(const DialRequest &request, int &error) {
  const int family = request.address.family();
  Descriptor fd = socket_for(request.method, family);
  error = fd.get() < 0 ? errno : set_options(fd.get(), request);
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
                    const std::string &more = "") {
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
      .number("mark", outcome.mark)
      .text("device", outcome.device)
      .raw("hops", hops + "]")
      .boolean("ended", outcome.ended)
      .text("readError", outcome.read_error == 0 ? "" : strerrorname_np(outcome.read_error))
      .text("method", method);
  const std::string text = line.str();
  return more.empty() ? text : text.substr(0, text.size() - 1) + ',' + more + '}';
}

// Two sockets from one source, both connected before anything is read.
std::string dial_beside(const DialRequest &request) {
  DialRequest other = request;
  other.address = fit(*request.beside, request.address.family());
  const long long deadline = now_ms() + request.timeout_ms;
  int errors[2] = {};
  const Descriptor fds[2] = {prepare(request, errors[0]), prepare(other, errors[1])};
  DialOutcome outcomes[2];
  for (int i : {0, 1})
    outcomes[i] = errors[i] != 0
                      ? not_dialled(errors[i])
                      : connect_only(fds[i].get(), request.method, (i == 0 ? request : other).address, deadline);
  for (int i : {0, 1})
    read_if_connected(fds[i].get(), request.method, deadline, outcomes[i]);
  const std::string beside = as_json(request.beside_text, request.method_name, outcomes[1]);
  return as_json(request.to, request.method_name, outcomes[0], "\"beside\":" + beside);
}
} // namespace

DialOutcome dial_and_keep(const DialRequest &request, Descriptor &fd) {
  int error = 0;
  fd = prepare(request, error);
  return error != 0 ? not_dialled(error)
                    : connect_and_read(fd.get(), request.method, request.address, request.timeout_ms);
}

DialOutcome dial(const DialRequest &request) {
  Descriptor fd;
  DialOutcome outcome = dial_and_keep(request, fd);
  if (request.reset)
    close_abruptly(std::move(fd));
  return outcome;
}

std::string dial_as_json(const DialRequest &request) {
  if (request.beside)
    return dial_beside(request);
  Descriptor fd;
  const DialOutcome first = dial_and_keep(request, fd);
  if (!request.second)
    return as_json(request.to, request.method_name, first);
  if (first.error == 0) {
    sockaddr unspecified{};
    unspecified.sa_family = AF_UNSPEC; // dissolves the association (connect(2))
    connect(fd.get(), &unspecified, sizeof unspecified);
  }
  const Address to = fit(*request.second, request.address.family());
  const DialOutcome second = connect_and_read(fd.get(), request.method, to, request.timeout_ms);
  return as_json(request.to, request.method_name, first,
                 "\"second\":" + as_json(request.second_text, request.method_name, second));
}
