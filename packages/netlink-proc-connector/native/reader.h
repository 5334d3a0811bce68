// The thread that empties the socket. Nothing in JavaScript can make it wait.
#pragma once
#include "native/thread.h"
#include "parse.h"
#include "ring.h"
#include "socket.h"
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

struct ReaderOptions {
  int receiveBufferBytes;
  int ackTimeoutMs;
  int lingerMs;      // how long to let messages gather after the first one; 0 reads at once
  uint32_t kindMask; // kinds to hand on, as the kernel's bits
  size_t ringRecords;
};

struct ReaderStats {
  ParseCounters parse;
  uint64_t enobufs = 0;       // times the kernel said that our receive buffer was full
  uint64_t receiveErrors = 0; // any other failure of recvmmsg
  uint64_t ringLost = 0;
  int receiveBufferBytes = 0;
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
  void close();
  std::vector<Record> take(size_t max, bool &more);
  ReaderStats stats() const;

private:
  void run();
  void drain();
  bool stopRequested(int timeoutMs) const;
  void deliver();

  const ReaderOptions options_;
  const std::function<void()> wake_;
  Parser parser_; // used by the constructor until the thread runs, then only by the thread
  std::unique_ptr<ConnectorSocket> socket_;
  Descriptor stopEvent_;
  std::atomic<bool> stop_{false};
  Ring ring_;
  std::vector<Record> batch_;
  mutable std::mutex statsMutex_;
  ReaderStats stats_;
  Thread thread_;
};

uint64_t monotonicNs();
