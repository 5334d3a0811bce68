// Maps by descriptor: facts and single-element operations. Sizes are passed in by the caller, who has them from the
// kernel (mapInfo); every buffer is checked against them, because the kernel reads and writes without asking.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <linux/bpf.h>

namespace sluice {
namespace {

Napi::Value MapInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  struct bpf_map_info facts = {};
  uint32_t length = sizeof facts;
  if (bpf_obj_get_info_by_fd(IntArgument(info, 0), &facts, &length) != 0)
    throw CallError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
  Napi::Object row = Napi::Object::New(env);
  row.Set("id", facts.id);
  row.Set("name", Napi::String::New(env, facts.name));
  row.Set("type", facts.type);
  row.Set("keySize", facts.key_size);
  row.Set("valueSize", facts.value_size);
  row.Set("maxEntries", facts.max_entries);
  row.Set("flags", facts.map_flags);
  return row;
}

Napi::Value MapFdById(const Napi::CallbackInfo &info) {
  int fd = bpf_map_get_fd_by_id(UintArgument(info, 0));
  if (fd < 0)
    throw CallError(info.Env(), "bpf(BPF_MAP_GET_FD_BY_ID)", errno);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value MapNextId(const Napi::CallbackInfo &info) {
  uint32_t next = 0;
  if (bpf_map_get_next_id(UintArgument(info, 0), &next) != 0) {
    if (errno == ENOENT)
      return info.Env().Undefined();
    throw CallError(info.Env(), "bpf(BPF_MAP_GET_NEXT_ID)", errno);
  }
  return Napi::Number::New(info.Env(), next);
}

// mapLookup(fd, key, keySize, valueBytes) -> Buffer | undefined
Napi::Value MapLookup(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Bytes key = SizedBytesArgument(info, 1, UintArgument(info, 2));
  auto value = Napi::Buffer<uint8_t>::New(env, UintArgument(info, 3));
  if (bpf_map_lookup_elem(IntArgument(info, 0), key.data, value.Data()) != 0) {
    if (errno == ENOENT)
      return env.Undefined();
    throw CallError(env, "bpf(BPF_MAP_LOOKUP_ELEM)", errno);
  }
  return value;
}

// mapUpdate(fd, key, keySize, value, valueBytes, flags)
void MapUpdate(const Napi::CallbackInfo &info) {
  Bytes key = SizedBytesArgument(info, 1, UintArgument(info, 2));
  Bytes value = SizedBytesArgument(info, 3, UintArgument(info, 4));
  if (bpf_map_update_elem(IntArgument(info, 0), key.data, value.data, UintArgument(info, 5)) != 0)
    throw CallError(info.Env(), "bpf(BPF_MAP_UPDATE_ELEM)", errno);
}

// mapDelete(fd, key, keySize) -> was there
Napi::Value MapDelete(const Napi::CallbackInfo &info) {
  Bytes key = SizedBytesArgument(info, 1, UintArgument(info, 2));
  if (bpf_map_delete_elem(IntArgument(info, 0), key.data) != 0) {
    if (errno == ENOENT)
      return Napi::Boolean::New(info.Env(), false);
    throw CallError(info.Env(), "bpf(BPF_MAP_DELETE_ELEM)", errno);
  }
  return Napi::Boolean::New(info.Env(), true);
}

// mapNextKey(fd, key | undefined, keySize) -> Buffer | undefined
Napi::Value MapNextKey(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  uint32_t size = UintArgument(info, 2);
  const void *key = IsGiven(info, 1) ? SizedBytesArgument(info, 1, size).data : nullptr;
  auto next = Napi::Buffer<uint8_t>::New(env, size);
  if (bpf_map_get_next_key(IntArgument(info, 0), key, next.Data()) != 0) {
    if (errno == ENOENT)
      return env.Undefined();
    throw CallError(env, "bpf(BPF_MAP_GET_NEXT_KEY)", errno);
  }
  return next;
}

Napi::Value PossibleCpus(const Napi::CallbackInfo &info) {
  LogCapture log;
  int count = libbpf_num_possible_cpus();
  if (count < 0)
    throw CallError(info.Env(), "libbpf_num_possible_cpus", count, &log);
  return Napi::Number::New(info.Env(), count);
}

} // namespace

void AddMaps(Napi::Env env, Napi::Object exports) {
  exports.Set("mapInfo", Napi::Function::New<MapInfo>(env, "mapInfo"));
  exports.Set("mapFdById", Napi::Function::New<MapFdById>(env, "mapFdById"));
  exports.Set("mapNextId", Napi::Function::New<MapNextId>(env, "mapNextId"));
  exports.Set("mapLookup", Napi::Function::New<MapLookup>(env, "mapLookup"));
  exports.Set("mapUpdate", Napi::Function::New<MapUpdate>(env, "mapUpdate"));
  exports.Set("mapDelete", Napi::Function::New<MapDelete>(env, "mapDelete"));
  exports.Set("mapNextKey", Napi::Function::New<MapNextKey>(env, "mapNextKey"));
  exports.Set("possibleCpus", Napi::Function::New<PossibleCpus>(env, "possibleCpus"));
}

} // namespace sluice
