// The sockets of the open connections, so that another thread can wait for their end or cause it.
#pragma once
#include <condition_variable>
#include <mutex>
#include <set>

class OpenConnections {
public:
  // Ends every connection, and later ones as soon as they come.
  void break_all();
  // How many sockets are left at the deadline (CLOCK_MONOTONIC, ms); returns earlier if there are none.
  size_t wait_until_none(long long deadline_ms);

private:
  friend class OpenConnection;
  std::mutex lock_;
  std::condition_variable changed_;
  std::set<int> sockets_;
  bool broken_ = false;
};

// One socket, for as long as this object exists; destroy it before the descriptor is closed.
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
