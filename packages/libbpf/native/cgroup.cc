// What is attached to a cgroup (BPF_PROG_QUERY), and the old way of attaching (BPF_PROG_ATTACH), with which tests act
// as a foreign program.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/bpf.h>
#include <vector>

namespace {

// BPF_CGROUP_MAX_PROGS of the kernel (kernel/bpf/cgroup.c): one cgroup's own list never exceeds it.
constexpr uint32_t firstGuess = 64;

// programQuery(targetFd, attachType, queryFlags) -> { attachFlags, programIds }
Napi::Value programQuery(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int fd = intArgument(info, 0);
  auto type = static_cast<enum bpf_attach_type>(uintArgument(info, 1));
  uint32_t queryFlags = uintArgument(info, 2), attachFlags = 0;
  std::vector<uint32_t> ids(firstGuess);
  uint32_t count = 0;
  for (;;) {
    count = static_cast<uint32_t>(ids.size());
    if (bpf_prog_query(fd, type, queryFlags, &attachFlags, ids.data(), &count) == 0)
      break;
    // ENOSPC puts the real number into count; it can have grown again by the next call.
    if (errno != ENOSPC)
      throw callError(env, "bpf(BPF_PROG_QUERY)", errno);
    ids.resize(count > ids.size() ? count : ids.size() * 2);
  }
  Napi::Object row = Napi::Object::New(env);
  row.Set("attachFlags", attachFlags);
  Napi::Array list = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; i++)
    list.Set(i, ids[i]);
  row.Set("programIds", list);
  return row;
}

// programAttach(programFd, targetFd, attachType, flags)
void programAttach(const Napi::CallbackInfo &info) {
  auto type = static_cast<enum bpf_attach_type>(uintArgument(info, 2));
  if (bpf_prog_attach(intArgument(info, 0), intArgument(info, 1), type, uintArgument(info, 3)) != 0)
    throw callError(info.Env(), "bpf(BPF_PROG_ATTACH)", errno);
}

// programDetach(programFd, targetFd, attachType)
void programDetach(const Napi::CallbackInfo &info) {
  auto type = static_cast<enum bpf_attach_type>(uintArgument(info, 2));
  if (bpf_prog_detach2(intArgument(info, 0), intArgument(info, 1), type) != 0)
    throw callError(info.Env(), "bpf(BPF_PROG_DETACH)", errno);
}

} // namespace

void addCgroups(Napi::Env env, Napi::Object exports) {
  exports.Set("programQuery", Napi::Function::New<programQuery>(env, "programQuery"));
  exports.Set("programAttach", Napi::Function::New<programAttach>(env, "programAttach"));
  exports.Set("programDetach", Napi::Function::New<programDetach>(env, "programDetach"));
}
