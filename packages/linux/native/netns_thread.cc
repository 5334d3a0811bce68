// setns(2) changes the calling thread only, and no thread of Node's may be changed: libuv's pool would go on to run
// other people's work in the wrong namespace. The thread ends in the namespace that it entered; it has no way back.
#include "netns_thread.h"

#include <exception>
#include <optional>
#include <system_error>
#include <thread>

#include <sched.h>
#include <signal.h>

#include "native/failure.h"

void onOwnThread(const std::string &object, const std::function<void()> &body) {
  std::exception_ptr error;
  const auto work = [&] {
    try {
      body();
    } catch (...) {
      error = std::current_exception();
    }
  };
  // Signals stay with Node's threads: the new thread inherits the mask that is set while it is made.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::optional<std::thread> thread;
  int refused = 0;
  try {
    thread.emplace(work);
  } catch (const std::system_error &failure) {
    refused = failure.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0)
    throw Failure{"pthread_create", refused, object};
  thread->join();
  if (error)
    std::rethrow_exception(error);
}

void insideNetns(int netns, const std::string &object, const std::function<void()> &body) {
  onOwnThread(object, [&] {
    if (setns(netns, CLONE_NEWNET) < 0)
      fail("setns", object);
    body();
  });
}
