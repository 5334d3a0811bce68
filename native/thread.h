// A thread of an addon's own. The program's signal handlers belong to its main thread, so every signal is blocked here.
#pragma once

#include <functional>
#include <optional>

#include <pthread.h>

class Thread {
public:
  Thread() = default;
  ~Thread() { join(); }
  Thread(const Thread &) = delete;
  Thread &operator=(const Thread &) = delete;

  // 0, or the errno of pthread_create(3): EAGAIN at a limit on tasks (pids.max, RLIMIT_NPROC). The name, of 15 bytes at
  // most (TASK_COMM_LEN less its NUL), is what `ps -L` shows. `body` must not throw.
  [[nodiscard]] int start(const char *name, std::function<void()> body);
  // False before a start that succeeded, and after join().
  bool started() const { return thread_.has_value(); }
  // Waits until `body` has returned. Idempotent.
  void join();

private:
  std::optional<pthread_t> thread_;
};
