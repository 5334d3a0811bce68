// Calls pthread_create(3) itself, because std::thread throws when no thread can be made and takes no signal mask.
#include "native/thread.h"

#include <memory>
#include <utility>

#include <signal.h>

namespace {

struct Work {
  const char *name;
  std::function<void()> body;
};

void *run(void *argument) {
  const std::unique_ptr<Work> work(static_cast<Work *>(argument));
  pthread_setname_np(pthread_self(), work->name);
  work->body();
  return nullptr;
}

} // namespace

int Thread::start(const char *name, std::function<void()> body) {
  auto work = std::make_unique<Work>(Work{name, std::move(body)});
  sigset_t all;
  sigfillset(&all);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_t thread;
  int error = pthread_attr_setsigmask_np(&attributes, &all);
  if (error == 0)
    error = pthread_create(&thread, &attributes, run, work.get());
  pthread_attr_destroy(&attributes);
  if (error == 0) {
    work.release(); // the thread owns it now
    thread_ = thread;
  }
  return error;
}

void Thread::join() {
  if (thread_)
    pthread_join(*thread_, nullptr);
  thread_.reset();
}
