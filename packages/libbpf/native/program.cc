// Programs by descriptor: what the kernel says of them, and BPF_PROG_TEST_RUN.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstdio>
#include <linux/bpf.h>
#include <vector>

namespace sluice {
namespace {

// Room for what a test run may append to its packet (bpf_skb_adjust_room, bpf_xdp_adjust_head): one page.
constexpr size_t kTestRunHeadroom = 4096;

Napi::Value ProgramInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int fd = IntArgument(info, 0);
  struct bpf_prog_info facts = {};
  uint32_t length = sizeof facts;
  if (bpf_obj_get_info_by_fd(fd, &facts, &length) != 0)
    throw CallError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);

  std::vector<uint32_t> map_ids(facts.nr_map_ids);
  if (!map_ids.empty()) {
    struct bpf_prog_info again = {};
    again.nr_map_ids = static_cast<uint32_t>(map_ids.size());
    again.map_ids = reinterpret_cast<uintptr_t>(map_ids.data());
    length = sizeof again;
    if (bpf_obj_get_info_by_fd(fd, &again, &length) != 0)
      throw CallError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
  }

  char tag[2 * BPF_TAG_SIZE + 1];
  for (size_t i = 0; i < BPF_TAG_SIZE; i++)
    snprintf(tag + 2 * i, 3, "%02x", facts.tag[i]);

  Napi::Object row = Napi::Object::New(env);
  row.Set("id", facts.id);
  row.Set("type", static_cast<uint32_t>(facts.type));
  row.Set("name", Napi::String::New(env, facts.name));
  row.Set("tag", Napi::String::New(env, tag));
  row.Set("loadedByUid", facts.created_by_uid);
  row.Set("loadTimeNs", Napi::BigInt::New(env, static_cast<uint64_t>(facts.load_time)));
  row.Set("gplCompatible", Napi::Boolean::New(env, facts.gpl_compatible));
  row.Set("instructionBytes", facts.xlated_prog_len);
  Napi::Array ids = Napi::Array::New(env, map_ids.size());
  for (size_t i = 0; i < map_ids.size(); i++)
    ids.Set(static_cast<uint32_t>(i), map_ids[i]);
  row.Set("mapIds", ids);
  return row;
}

Napi::Value ProgramFdById(const Napi::CallbackInfo &info) {
  int fd = bpf_prog_get_fd_by_id(UintArgument(info, 0));
  if (fd < 0)
    throw CallError(info.Env(), "bpf(BPF_PROG_GET_FD_BY_ID)", errno);
  return Napi::Number::New(info.Env(), fd);
}

// The next program id above the given one, or undefined after the last.
Napi::Value ProgramNextId(const Napi::CallbackInfo &info) {
  uint32_t next = 0;
  if (bpf_prog_get_next_id(UintArgument(info, 0), &next) != 0) {
    if (errno == ENOENT)
      return info.Env().Undefined();
    throw CallError(info.Env(), "bpf(BPF_PROG_GET_NEXT_ID)", errno);
  }
  return Napi::Number::New(info.Env(), next);
}

// testRun(fd, data?, ctx?, repeat) -> { retval, durationNs, data?, ctx? }
Napi::Value TestRun(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  LIBBPF_OPTS(bpf_test_run_opts, options);
  std::vector<uint8_t> data_out, ctx_out;
  if (IsGiven(info, 1)) {
    Bytes data = BytesArgument(info, 1);
    data_out.resize(data.length + kTestRunHeadroom);
    options.data_in = data.data;
    options.data_size_in = static_cast<uint32_t>(data.length);
    options.data_out = data_out.data();
    options.data_size_out = static_cast<uint32_t>(data_out.size());
  }
  if (IsGiven(info, 2)) {
    Bytes ctx = BytesArgument(info, 2);
    options.ctx_in = ctx.data;
    options.ctx_size_in = static_cast<uint32_t>(ctx.length);
    ctx_out.assign(ctx.data, ctx.data + ctx.length);
    // A syscall program's context is read and written in place; a result buffer for it is refused (EINVAL).
    if (!info[4].ToBoolean()) {
      options.ctx_out = ctx_out.data();
      options.ctx_size_out = static_cast<uint32_t>(ctx_out.size());
    } else {
      options.ctx_in = ctx_out.data();
    }
  }
  options.repeat = IntArgument(info, 3);
  if (bpf_prog_test_run_opts(IntArgument(info, 0), &options) != 0)
    throw CallError(env, "bpf(BPF_PROG_TEST_RUN)", errno);

  Napi::Object row = Napi::Object::New(env);
  row.Set("retval", options.retval);
  row.Set("durationNs", options.duration);
  if (options.data_in != nullptr)
    row.Set("data", Napi::Buffer<uint8_t>::Copy(env, data_out.data(), options.data_size_out));
  if (options.ctx_in != nullptr)
    row.Set("ctx", Napi::Buffer<uint8_t>::Copy(env, ctx_out.data(), ctx_out.size()));
  return row;
}

} // namespace

void AddPrograms(Napi::Env env, Napi::Object exports) {
  exports.Set("programInfo", Napi::Function::New<ProgramInfo>(env, "programInfo"));
  exports.Set("programFdById", Napi::Function::New<ProgramFdById>(env, "programFdById"));
  exports.Set("programNextId", Napi::Function::New<ProgramNextId>(env, "programNextId"));
  exports.Set("testRun", Napi::Function::New<TestRun>(env, "testRun"));
}

} // namespace sluice
