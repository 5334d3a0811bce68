// A server that answers each connection with one line, and keeps it until the client closes: one thread for all of
// them.
#pragma once
#include "sockets.h"
#include <functional>
#include <map>
#include <string>

class Answering {
public:
  // What is said to a connection that a port accepted, without the end of the line.
  using Describe = std::function<std::string(int connection, uint16_t port)>;

  // With `echo` it sends back what it gets; without, it ends its own direction after the line, and discards what it
  // gets.
  Answering(Describe describe, bool echo) : describe_(std::move(describe)), echo_(echo) {}

  // The listener must be non-blocking.
  void add(Descriptor listener, uint16_t port) { ports_[listener.release()] = port; }
  // Says that it is ready, and serves for ever. `processes` share the listeners, because each may open only so many
  // files; the further ones end with this one.
  [[noreturn]] void run(long processes = 1);

private:
  void accept_waiting(int listener, uint16_t port);
  void take(int connection) const;

  const Describe describe_;
  const bool echo_;
  Descriptor epoll_;
  std::map<int, uint16_t> ports_;
};
