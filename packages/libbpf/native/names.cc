// libbpf's names of the kernel's numbered kinds, each as an array indexed by number: attach types
// ('cgroup_inet4_connect'), program types ('cgroup_sock_addr'), map types ('hash'), link types ('cgroup').
#include "modules.h"

#include <bpf/libbpf.h>

namespace {

template <typename Kind> Napi::Array names(Napi::Env env, const char *(*name)(Kind)) {
  Napi::Array list = Napi::Array::New(env);
  uint32_t number = 0;
  while (const char *text = name(static_cast<Kind>(number)))
    list.Set(number++, text);
  return list;
}

} // namespace

void addNames(Napi::Env env, Napi::Object exports) {
  exports.Set("attachTypeNames", names<bpf_attach_type>(env, libbpf_bpf_attach_type_str));
  exports.Set("programTypeNames", names<bpf_prog_type>(env, libbpf_bpf_prog_type_str));
  exports.Set("mapTypeNames", names<bpf_map_type>(env, libbpf_bpf_map_type_str));
  exports.Set("linkTypeNames", names<bpf_link_type>(env, libbpf_bpf_link_type_str));
}
