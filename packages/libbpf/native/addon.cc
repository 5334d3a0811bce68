// The addon's entry: no logic, only the list of its parts.
#include "error.h"
#include "modules.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  sluice::InstallLogCapture();
  sluice::AddFd(env, exports);
  sluice::AddPins(env, exports);
  sluice::AddObject(env, exports);
  sluice::AddPrograms(env, exports);
  sluice::AddMaps(env, exports);
  sluice::AddMapBatches(env, exports);
  sluice::AddLinks(env, exports);
  sluice::AddCgroups(env, exports);
  sluice::AddRingBuffer(env, exports);
  sluice::AddBtf(env, exports);
  sluice::AddNames(env, exports);
  sluice::AddProbes(env, exports);
  return exports;
}

} // namespace

NODE_API_MODULE(libbpf, Init)
