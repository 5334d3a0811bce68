// The thread that empties the socket. Nothing that JavaScript does can make it wait.
#pragma once
#include "native/thread.h"
#include "parse.h"
#include "ring.h"
#include "socket.h"
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

namespace sluice {

struct ReaderOptions {
  int receive_buffer_bytes;
  int ack_timeout_ms;
  int linger_ms;      // how long to let messages gather after the first one; 0 = read at once
  uint32_t kind_mask; // kinds to hand on, as the kernel's bits
  size_t ring_records;
};

struct ReaderStats {
  ParseCounters parse;
  uint64_t enobufs = 0;        // times the kernel said that our receive buffer was full
  uint64_t receive_errors = 0; // any other failure of recvmmsg
  uint64_t ring_lost = 0;
  int receive_buffer_bytes = 0;
};

class Reader {
public:
  // Opens, subscribes and starts the thread. wake is called on that thread, at most once until the ring has been
  // emptied. Throws Failure.
  Reader(const ReaderOptions &options, std::function<void()> wake);
  ~Reader();
  Reader(const Reader &) = delete;
  Reader &operator=(const Reader &) = delete;

  // Stops the thread, unsubscribes and closes. Idempotent.
  void Close();
  std::vector<Record> Take(size_t max, bool &more);
  ReaderStats Stats() const;

private:
  void Run();
  void Drain();
  bool StopRequested(int timeout_ms) const;
  void Deliver();

  const ReaderOptions options_;
  const std::function<void()> wake_;
  Parser parser_; // the constructor's until the thread runs, then the thread's
  std::unique_ptr<ConnectorSocket> socket_;
  Descriptor stop_event_;
  std::atomic<bool> stop_{false};
  Ring ring_;
  std::vector<Record> batch_;
  mutable std::mutex stats_mutex_;
  ReaderStats stats_;
  Thread thread_;
};

uint64_t MonotonicNs();

} // namespace sluice
