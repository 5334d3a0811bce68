// Work inside a network namespace. setns(2) and unshare(2) move only the calling thread, and no thread of Node's may be
// moved: libuv's pool would then run unrelated work in the wrong namespace. So the work gets a thread of its own, which
// ends inside the namespace because it has no way back.
#pragma once

#include <future>
#include <string>
#include <utility>

#include <sched.h>

#include "native/failure.h"
#include "native/thread.h"

// Runs `body` on a new thread, waits for it, and returns what it returns or throws what it throws. Throws a Failure,
// too, if the thread cannot be made. `object` is for errors.
template <typename Body> auto onOwnThread(const std::string &object, Body body) {
  std::packaged_task<decltype(body())()> task(std::move(body));
  auto result = task.get_future();
  Thread thread;
  if (const int error = thread.start("netns", [&task] { task(); }); error != 0)
    throw Failure{"pthread_create", error, object};
  thread.join();
  return result.get();
}

// The same inside the network namespace of the open file `netns`, which `object` names in errors.
template <typename Body> auto insideNetns(int netns, const std::string &object, Body body) {
  return onOwnThread(object, [&] {
    if (setns(netns, CLONE_NEWNET) < 0)
      fail("setns", object);
    return body();
  });
}
