// Fd: a descriptor that JavaScript owns. close() may be called twice; the finalizer closes what was forgotten, also
// when a worker thread ends.
#include "arguments.h"
#include "error.h"
#include "modules.h"
#include "native/descriptor.h"

#include <cerrno>
#include <fcntl.h>

namespace sluice {
namespace {

class Fd : public Napi::ObjectWrap<Fd> {
public:
  explicit Fd(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Fd>(info), fd_(IntArgument(info, 0)) {}

  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "Fd", {InstanceAccessor<&Fd::Number>("number"), InstanceMethod<&Fd::Close>("close")});
  }

private:
  // -1 once closed.
  Napi::Value Number(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), fd_.get()); }
  void Close(const Napi::CallbackInfo &) { fd_.reset(); }

  Descriptor fd_;
};

// openPath(path, directory): a read-only descriptor of a cgroup directory or of a namespace file.
Napi::Value OpenPath(const Napi::CallbackInfo &info) {
  std::string path = StringArgument(info, 0);
  int flags = O_RDONLY | O_CLOEXEC | (info[1].ToBoolean() ? O_DIRECTORY : 0);
  int fd = open(path.c_str(), flags);
  if (fd < 0)
    throw CallError(info.Env(), "open", errno);
  return Napi::Number::New(info.Env(), fd);
}

} // namespace

void AddFd(Napi::Env env, Napi::Object exports) {
  exports.Set("Fd", Fd::Class(env));
  exports.Set("openPath", Napi::Function::New<OpenPath>(env, "openPath"));
}

} // namespace sluice
