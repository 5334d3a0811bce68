// The sockets of the connections that are under way, so that somebody else can wait for their end or bring it about.
#pragma once
#include <condition_variable>
#include <mutex>
#include <set>

class OpenConnections {
public:
  // Ends every connection, and those that come later as soon as they come.
  void break_all();
  // How many sockets are still there at the deadline (CLOCK_MONOTONIC, ms); returns earlier when there are none.
  size_t wait_until_none(long long deadline_ms);

private:
  friend class OpenConnection;
  std::mutex lock_;
  std::condition_variable changed_;
  std::set<int> sockets_;
  bool broken_ = false;
};

// One socket, for as long as this exists; it must be gone before the descriptor is closed.
class OpenConnection {
public:
  OpenConnection(OpenConnections &all, int socket);
  OpenConnection(const OpenConnection &) = delete;
  OpenConnection &operator=(const OpenConnection &) = delete;
  ~OpenConnection();

private:
  OpenConnections &all_;
  int socket_;
};
