// See open_connections.h.
#include "open_connections.h"
#include "sockets.h"
#include <chrono>
#include <sys/socket.h>

void OpenConnections::break_all() {
  const std::lock_guard<std::mutex> guard(lock_);
  broken_ = true;
  for (const int socket : sockets_)
    shutdown(socket, SHUT_RDWR); // wakes the thread that reads it, which then closes
}

size_t OpenConnections::wait_until_none(long long deadline_ms) {
  std::unique_lock<std::mutex> guard(lock_);
  const long long left = deadline_ms - now_ms();
  changed_.wait_for(guard, std::chrono::milliseconds(left > 0 ? left : 0), [this] { return sockets_.empty(); });
  return sockets_.size();
}

OpenConnection::OpenConnection(OpenConnections &all, int socket) : all_(all), socket_(socket) {
  const std::lock_guard<std::mutex> guard(all_.lock_);
  all_.sockets_.insert(socket_);
  if (all_.broken_)
    shutdown(socket_, SHUT_RDWR);
}

OpenConnection::~OpenConnection() {
  const std::lock_guard<std::mutex> guard(all_.lock_);
  all_.sockets_.erase(socket_);
  if (all_.sockets_.empty())
    all_.changed_.notify_all();
}
