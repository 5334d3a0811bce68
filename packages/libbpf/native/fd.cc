// Fd: a descriptor that JavaScript owns. close() may be called twice; the finalizer closes a forgotten one, also when a
// worker thread ends.
#include "arguments.h"
#include "error.h"
#include "modules.h"
#include "native/descriptor.h"

#include <cerrno>
#include <fcntl.h>

namespace {

class Fd : public Napi::ObjectWrap<Fd> {
public:
  explicit Fd(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Fd>(info), fd_(intArgument(info, 0)) {}

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Fd", {InstanceAccessor<&Fd::number>("number"), InstanceMethod<&Fd::close>("close")});
  }

private:
  // -1 once closed.
  Napi::Value number(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), fd_.get()); }
  void close(const Napi::CallbackInfo &) { fd_.reset(); }

  Descriptor fd_;
};

// openDirectory(path): a read-only descriptor, such as that of a cgroup.
Napi::Value openDirectory(const Napi::CallbackInfo &info) {
  std::string path = stringArgument(info, 0);
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY);
  if (fd < 0)
    throw callError(info.Env(), "open", errno);
  return Napi::Number::New(info.Env(), fd);
}

} // namespace

void addFd(Napi::Env env, Napi::Object exports) {
  exports.Set("Fd", Fd::define(env));
  exports.Set("openDirectory", Napi::Function::New<openDirectory>(env, "openDirectory"));
}
