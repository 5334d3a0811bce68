// It uses flock(2) and not fcntl(2) locks, which are dropped when any descriptor of the file is closed.
#include "file_lock.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>

#include "arguments.h"

namespace {

constexpr mode_t ownerOnly = 0600;

// Invalid if another holds the lock.
Descriptor lockedFile(const std::string &path) {
  Descriptor file = openLockFile(path);
  while (flock(file.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno == EWOULDBLOCK)
      return Descriptor();
    if (errno != EINTR)
      fail("flock", path);
  }
  return file;
}

} // namespace

Descriptor openLockFile(const std::string &path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, ownerOnly));
  if (!file.valid())
    fail("open", path);
  return file;
}

Napi::Function FileLock::define(Napi::Env env) {
  return DefineClass(env, "FileLock",
                     {InstanceAccessor<&FileLock::held>("held"), InstanceMethod<&FileLock::close>("close")});
}

// new FileLock(path). `held` is false if another holds the lock.
FileLock::FileLock(const Napi::CallbackInfo &info) : Napi::ObjectWrap<FileLock>(info) {
  file_ = guarded(info.Env(), [&] { return lockedFile(textArgument(info, 0, "path")); });
}

Napi::Value FileLock::held(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), file_.valid());
}

void FileLock::close(const Napi::CallbackInfo &) {
  file_.reset();
}
