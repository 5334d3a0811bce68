// The one thread that waits for the notifications of every watched network namespace of an environment. It reads
// nothing: it wakes JavaScript's thread, which reads what has come by then. So a burst is read at once, and what comes
// while JavaScript is busy waits in the kernel, which forgets some of it if that is too much, and says so.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "native/descriptor.h"
#include "native/thread.h"

using WatchId = uint32_t; // never used twice

// What has changed in one namespace.
struct NetnsChanges {
  WatchId watch = 0;
  bool rules = false;
  bool routes = false;
  bool addresses = false;
  bool devices = false;
  bool lost = false; // notifications were lost, so that anything may have changed

  bool any() const { return rules || routes || addresses || devices || lost; }
};

class NetnsWatchLoop {
public:
  // `wake` is called on the thread, at most once until take() has been called. Throws Failure.
  explicit NetnsWatchLoop(std::function<void()> wake);
  ~NetnsWatchLoop();
  NetnsWatchLoop(const NetnsWatchLoop &) = delete;
  NetnsWatchLoop &operator=(const NetnsWatchLoop &) = delete;

  // Watches the namespace of the open file `netns`, which `object` names in errors, from now on. Throws Failure.
  WatchId add(int netns, const std::string &object);
  // Idempotent.
  void close(WatchId watch);
  // What has changed since the last call, once for each namespace.
  std::vector<NetnsChanges> take();

private:
  void run();
  void noteReady(WatchId watch);
  int listen(int operation, int socket, WatchId watch);

  const std::function<void()> wake_;
  Descriptor epoll_;
  Descriptor stop_;
  std::mutex mutex_; // guards everything below
  std::map<WatchId, Descriptor> sockets_;
  std::vector<WatchId> ready_;
  WatchId next_ = 1;
  bool waking_ = false;
  Thread thread_;
};
