// Maps by descriptor: facts and single-element operations. Sizes are passed in by the caller, who got them from the
// kernel (mapInfo). Every buffer is checked against them, because the kernel reads and writes without checking.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <linux/bpf.h>

namespace {

Napi::Value mapInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  struct bpf_map_info facts = {};
  uint32_t length = sizeof facts;
  if (bpf_obj_get_info_by_fd(intArgument(info, 0), &facts, &length) != 0)
    throw callError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
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

Napi::Value mapFdById(const Napi::CallbackInfo &info) {
  int fd = bpf_map_get_fd_by_id(uintArgument(info, 0));
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_MAP_GET_FD_BY_ID)", errno);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value mapNextId(const Napi::CallbackInfo &info) {
  uint32_t next = 0;
  if (bpf_map_get_next_id(uintArgument(info, 0), &next) != 0) {
    if (errno == ENOENT)
      return info.Env().Undefined();
    throw callError(info.Env(), "bpf(BPF_MAP_GET_NEXT_ID)", errno);
  }
  return Napi::Number::New(info.Env(), next);
}

// mapLookup(fd, key, keySize, valueBytes) -> Buffer | undefined
Napi::Value mapLookup(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Bytes key = sizedBytesArgument(info, 1, uintArgument(info, 2));
  auto value = Napi::Buffer<uint8_t>::New(env, uintArgument(info, 3));
  if (bpf_map_lookup_elem(intArgument(info, 0), key.data, value.Data()) != 0) {
    if (errno == ENOENT)
      return env.Undefined();
    throw callError(env, "bpf(BPF_MAP_LOOKUP_ELEM)", errno);
  }
  return value;
}

// mapUpdate(fd, key, keySize, value, valueBytes, flags)
void mapUpdate(const Napi::CallbackInfo &info) {
  Bytes key = sizedBytesArgument(info, 1, uintArgument(info, 2));
  Bytes value = sizedBytesArgument(info, 3, uintArgument(info, 4));
  if (bpf_map_update_elem(intArgument(info, 0), key.data, value.data, uintArgument(info, 5)) != 0)
    throw callError(info.Env(), "bpf(BPF_MAP_UPDATE_ELEM)", errno);
}

// mapFreeze(fd)
void mapFreeze(const Napi::CallbackInfo &info) {
  if (bpf_map_freeze(intArgument(info, 0)) != 0)
    throw callError(info.Env(), "bpf(BPF_MAP_FREEZE)", errno);
}

// mapDelete(fd, key, keySize) -> whether it existed
Napi::Value mapDelete(const Napi::CallbackInfo &info) {
  Bytes key = sizedBytesArgument(info, 1, uintArgument(info, 2));
  if (bpf_map_delete_elem(intArgument(info, 0), key.data) != 0) {
    if (errno == ENOENT)
      return Napi::Boolean::New(info.Env(), false);
    throw callError(info.Env(), "bpf(BPF_MAP_DELETE_ELEM)", errno);
  }
  return Napi::Boolean::New(info.Env(), true);
}

// mapNextKey(fd, key | undefined, keySize) -> Buffer | undefined
Napi::Value mapNextKey(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  uint32_t size = uintArgument(info, 2);
  const void *key = isGiven(info, 1) ? sizedBytesArgument(info, 1, size).data : nullptr;
  auto next = Napi::Buffer<uint8_t>::New(env, size);
  if (bpf_map_get_next_key(intArgument(info, 0), key, next.Data()) != 0) {
    if (errno == ENOENT)
      return env.Undefined();
    throw callError(env, "bpf(BPF_MAP_GET_NEXT_KEY)", errno);
  }
  return next;
}

Napi::Value possibleCpus(const Napi::CallbackInfo &info) {
  LogCapture log;
  int count = libbpf_num_possible_cpus();
  if (count < 0)
    throw callError(info.Env(), "libbpf_num_possible_cpus", count, &log);
  return Napi::Number::New(info.Env(), count);
}

} // namespace

void addMaps(Napi::Env env, Napi::Object exports) {
  exports.Set("mapInfo", Napi::Function::New<mapInfo>(env, "mapInfo"));
  exports.Set("mapFdById", Napi::Function::New<mapFdById>(env, "mapFdById"));
  exports.Set("mapNextId", Napi::Function::New<mapNextId>(env, "mapNextId"));
  exports.Set("mapLookup", Napi::Function::New<mapLookup>(env, "mapLookup"));
  exports.Set("mapUpdate", Napi::Function::New<mapUpdate>(env, "mapUpdate"));
  exports.Set("mapFreeze", Napi::Function::New<mapFreeze>(env, "mapFreeze"));
  exports.Set("mapDelete", Napi::Function::New<mapDelete>(env, "mapDelete"));
  exports.Set("mapNextKey", Napi::Function::New<mapNextKey>(env, "mapNextKey"));
  exports.Set("possibleCpus", Napi::Function::New<possibleCpus>(env, "possibleCpus"));
}
