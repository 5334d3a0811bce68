// The parts of the addon: each source file adds its functions or its class to the exports.
#pragma once

#include <napi.h>

void addFd(Napi::Env env, Napi::Object exports);
void addPins(Napi::Env env, Napi::Object exports);
void addObject(Napi::Env env, Napi::Object exports);
void addPrograms(Napi::Env env, Napi::Object exports);
void addMaps(Napi::Env env, Napi::Object exports);
void addMapBatches(Napi::Env env, Napi::Object exports);
void addLinks(Napi::Env env, Napi::Object exports);
void addTracing(Napi::Env env, Napi::Object exports);
void addCgroups(Napi::Env env, Napi::Object exports);
void addRingBuffer(Napi::Env env, Napi::Object exports);
void addBtf(Napi::Env env, Napi::Object exports);
void addNames(Napi::Env env, Napi::Object exports);
void addProbes(Napi::Env env, Napi::Object exports);
