// Pins in bpffs: objPin(fd, path), objGet(path) -> fd.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <cerrno>

namespace {

void objPin(const Napi::CallbackInfo &info) {
  int fd = intArgument(info, 0);
  std::string path = stringArgument(info, 1);
  if (bpf_obj_pin(fd, path.c_str()) != 0)
    throw callError(info.Env(), "bpf(BPF_OBJ_PIN)", errno);
}

Napi::Value objGet(const Napi::CallbackInfo &info) {
  std::string path = stringArgument(info, 0);
  int fd = bpf_obj_get(path.c_str());
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_OBJ_GET)", errno);
  return Napi::Number::New(info.Env(), fd);
}

} // namespace

void addPins(Napi::Env env, Napi::Object exports) {
  exports.Set("objPin", Napi::Function::New<objPin>(env, "objPin"));
  exports.Set("objGet", Napi::Function::New<objGet>(env, "objGet"));
}
