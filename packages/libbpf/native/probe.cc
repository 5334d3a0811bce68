// What this kernel can load. It is asked to load the smallest programs that show it; none of them stays.
#include "arguments.h"
#include "error.h"
#include "modules.h"
#include "native/descriptor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <linux/bpf.h>
#include <vector>

namespace {

// For so small a program, the verifier gives its reason in a few lines.
constexpr size_t probeLogBytes = 4096;

constexpr bpf_insn setResult(int32_t value) {
  return {BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value};
}
constexpr bpf_insn callHelper(uint32_t helper) {
  return {BPF_JMP | BPF_CALL, 0, 0, 0, static_cast<int32_t>(helper)};
}
constexpr bpf_insn exitProgram() {
  return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0};
}

// If the descriptor is invalid, errno is the kernel's.
Descriptor loadSmall(uint32_t type, uint32_t attachType, const std::vector<bpf_insn> &instructions, char *log) {
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.expected_attach_type = static_cast<bpf_attach_type>(attachType);
  options.log_buf = log;
  options.log_size = log == nullptr ? 0 : probeLogBytes;
  options.log_level = log == nullptr ? 0 : 1;
  return Descriptor(bpf_prog_load(static_cast<bpf_prog_type>(type), "probe", "Dual BSD/GPL", instructions.data(),
                                  instructions.size(), &options));
}

// probeLoad(type, attachType, helper?) -> { errno, log }; errno 0 means that the program was loaded, and released
// again. Without a helper the program only returns 1; with one it only calls that helper, without arguments.
Napi::Value probeLoad(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  LogCapture quiet;
  std::vector<char> log(probeLogBytes);
  const std::vector<bpf_insn> instructions =
      isGiven(info, 2) ? std::vector<bpf_insn>{callHelper(uintArgument(info, 2)), exitProgram()}
                       : std::vector<bpf_insn>{setResult(1), exitProgram()};
  const Descriptor program = loadSmall(uintArgument(info, 0), uintArgument(info, 1), instructions, log.data());
  int err = program.valid() ? 0 : errno;
  // Permission is a matter of the caller, not of the kernel.
  if (err == EPERM)
    throw callError(env, "bpf(BPF_PROG_LOAD)", err);
  Napi::Object outcome = Napi::Object::New(env);
  outcome.Set("errno", err);
  outcome.Set("log", Napi::String::New(env, log.data()));
  return outcome;
}

// probeLink(type, attachType) -> whether links of the kind exist. The target is not a valid descriptor: a kernel that
// knows such links answers EBADF, one that does not answers otherwise.
Napi::Value probeLink(const Napi::CallbackInfo &info) {
  LogCapture quiet;
  uint32_t attachType = uintArgument(info, 1);
  const Descriptor program = loadSmall(uintArgument(info, 0), attachType, {setResult(1), exitProgram()}, nullptr);
  if (!program.valid()) {
    if (errno == EPERM)
      throw callError(info.Env(), "bpf(BPF_PROG_LOAD)", EPERM);
    return Napi::Boolean::New(info.Env(), false);
  }
  const Descriptor link(bpf_link_create(program.get(), -1, static_cast<bpf_attach_type>(attachType), nullptr));
  return Napi::Boolean::New(info.Env(), !link.valid() && errno == EBADF);
}

// probeMapType(type) -> boolean
Napi::Value probeMapType(const Napi::CallbackInfo &info) {
  LogCapture quiet;
  int supported = libbpf_probe_bpf_map_type(static_cast<bpf_map_type>(uintArgument(info, 0)), nullptr);
  if (supported < 0)
    throw callError(info.Env(), "libbpf_probe_bpf_map_type", -supported);
  return Napi::Boolean::New(info.Env(), supported == 1);
}

// By number, as linux/bpf.h names them: helperNames[1] is 'map_lookup_elem'.
Napi::Array helperNames(Napi::Env env) {
#define HELPER_NAME(name, ...) #name
  static const char *const names[] = {__BPF_FUNC_MAPPER(HELPER_NAME)};
#undef HELPER_NAME
  Napi::Array list = Napi::Array::New(env);
  for (const char *name : names)
    list.Set(list.Length(), name);
  return list;
}

} // namespace

void addProbes(Napi::Env env, Napi::Object exports) {
  exports.Set("probeLoad", Napi::Function::New(env, probeLoad));
  exports.Set("probeLink", Napi::Function::New(env, probeLink));
  exports.Set("probeMapType", Napi::Function::New(env, probeMapType));
  exports.Set("helperNames", helperNames(env));
}
