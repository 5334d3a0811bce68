// The addon's entry: no logic, only the list of its parts.
#include "error.h"
#include "modules.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  installLogCapture();
  addFd(env, exports);
  addPins(env, exports);
  addObject(env, exports);
  addPrograms(env, exports);
  addMaps(env, exports);
  addMapBatches(env, exports);
  addLinks(env, exports);
  addTracing(env, exports);
  addCgroups(env, exports);
  addRingBuffer(env, exports);
  addBtf(env, exports);
  addNames(env, exports);
  addProbes(env, exports);
  return exports;
}

} // namespace

NODE_API_MODULE(libbpf, init)
