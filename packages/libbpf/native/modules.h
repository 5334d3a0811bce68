// The parts of the addon: each source file adds its functions or its class to the exports.
#pragma once

#include <napi.h>

namespace sluice {

void AddFd(Napi::Env env, Napi::Object exports);
void AddPins(Napi::Env env, Napi::Object exports);
void AddObject(Napi::Env env, Napi::Object exports);
void AddPrograms(Napi::Env env, Napi::Object exports);
void AddMaps(Napi::Env env, Napi::Object exports);
void AddMapBatches(Napi::Env env, Napi::Object exports);
void AddLinks(Napi::Env env, Napi::Object exports);
void AddCgroups(Napi::Env env, Napi::Object exports);
void AddRingBuffer(Napi::Env env, Napi::Object exports);
void AddBtf(Napi::Env env, Napi::Object exports);
void AddNames(Napi::Env env, Napi::Object exports);
void AddProbes(Napi::Env env, Napi::Object exports);

} // namespace sluice
