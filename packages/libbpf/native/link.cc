// Links by descriptor: create, update, detach, facts.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <linux/bpf.h>

namespace {

// linkCreate(programFd, targetFd, attachType) -> fd
Napi::Value linkCreate(const Napi::CallbackInfo &info) {
  int fd = bpf_link_create(intArgument(info, 0), intArgument(info, 1),
                           static_cast<enum bpf_attach_type>(uintArgument(info, 2)), nullptr);
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_LINK_CREATE)", errno);
  return Napi::Number::New(info.Env(), fd);
}

void linkUpdate(const Napi::CallbackInfo &info) {
  if (bpf_link_update(intArgument(info, 0), intArgument(info, 1), nullptr) != 0)
    throw callError(info.Env(), "bpf(BPF_LINK_UPDATE)", errno);
}

void linkDetach(const Napi::CallbackInfo &info) {
  if (bpf_link_detach(intArgument(info, 0)) != 0)
    throw callError(info.Env(), "bpf(BPF_LINK_DETACH)", errno);
}

Napi::Value linkInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  struct bpf_link_info facts = {};
  uint32_t length = sizeof facts;
  if (bpf_obj_get_info_by_fd(intArgument(info, 0), &facts, &length) != 0)
    throw callError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
  Napi::Object row = Napi::Object::New(env);
  row.Set("id", facts.id);
  row.Set("programId", facts.prog_id);
  row.Set("type", facts.type);
  if (facts.type == BPF_LINK_TYPE_CGROUP) {
    row.Set("cgroupId", Napi::BigInt::New(env, static_cast<uint64_t>(facts.cgroup.cgroup_id)));
    row.Set("attachType", facts.cgroup.attach_type);
  } else if (facts.type == BPF_LINK_TYPE_NETNS) {
    row.Set("netnsInode", facts.netns.netns_ino);
    row.Set("attachType", facts.netns.attach_type);
  }
  return row;
}

Napi::Value linkFdById(const Napi::CallbackInfo &info) {
  int fd = bpf_link_get_fd_by_id(uintArgument(info, 0));
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_LINK_GET_FD_BY_ID)", errno);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value linkNextId(const Napi::CallbackInfo &info) {
  uint32_t next = 0;
  if (bpf_link_get_next_id(uintArgument(info, 0), &next) != 0) {
    if (errno == ENOENT)
      return info.Env().Undefined();
    throw callError(info.Env(), "bpf(BPF_LINK_GET_NEXT_ID)", errno);
  }
  return Napi::Number::New(info.Env(), next);
}

} // namespace

void addLinks(Napi::Env env, Napi::Object exports) {
  exports.Set("linkCreate", Napi::Function::New<linkCreate>(env, "linkCreate"));
  exports.Set("linkUpdate", Napi::Function::New<linkUpdate>(env, "linkUpdate"));
  exports.Set("linkDetach", Napi::Function::New<linkDetach>(env, "linkDetach"));
  exports.Set("linkInfo", Napi::Function::New<linkInfo>(env, "linkInfo"));
  exports.Set("linkFdById", Napi::Function::New<linkFdById>(env, "linkFdById"));
  exports.Set("linkNextId", Napi::Function::New<linkNextId>(env, "linkNextId"));
}
