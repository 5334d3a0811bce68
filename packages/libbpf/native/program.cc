// Programs by descriptor: what the kernel knows about them, and BPF_PROG_TEST_RUN.
#include "arguments.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstdio>
#include <linux/bpf.h>
#include <vector>

namespace {

// Room for what a test run may append to its packet (bpf_skb_adjust_room, bpf_xdp_adjust_head): one page.
constexpr size_t testRunHeadroom = 4096;

Napi::Value programInfo(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int fd = intArgument(info, 0);
  struct bpf_prog_info facts = {};
  uint32_t length = sizeof facts;
  if (bpf_obj_get_info_by_fd(fd, &facts, &length) != 0)
    throw callError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);

  std::vector<uint32_t> mapIds(facts.nr_map_ids);
  if (!mapIds.empty()) {
    struct bpf_prog_info again = {};
    again.nr_map_ids = static_cast<uint32_t>(mapIds.size());
    again.map_ids = reinterpret_cast<uintptr_t>(mapIds.data());
    length = sizeof again;
    if (bpf_obj_get_info_by_fd(fd, &again, &length) != 0)
      throw callError(env, "bpf(BPF_OBJ_GET_INFO_BY_FD)", errno);
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
  row.Set("verifiedInstructions", facts.verified_insns);
  row.Set("runs", Napi::BigInt::New(env, static_cast<uint64_t>(facts.run_cnt)));
  row.Set("runTimeNs", Napi::BigInt::New(env, static_cast<uint64_t>(facts.run_time_ns)));
  Napi::Array ids = Napi::Array::New(env, mapIds.size());
  for (size_t i = 0; i < mapIds.size(); i++)
    ids.Set(static_cast<uint32_t>(i), mapIds[i]);
  row.Set("mapIds", ids);
  return row;
}

Napi::Value programFdById(const Napi::CallbackInfo &info) {
  int fd = bpf_prog_get_fd_by_id(uintArgument(info, 0));
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_PROG_GET_FD_BY_ID)", errno);
  return Napi::Number::New(info.Env(), fd);
}

// testRun(fd, data?, ctx?, repeat) -> { retval, durationNs, data?, ctx? }
Napi::Value testRun(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  LIBBPF_OPTS(bpf_test_run_opts, options);
  std::vector<uint8_t> dataOut, ctxOut;
  if (isGiven(info, 1)) {
    Bytes data = bytesArgument(info, 1);
    dataOut.resize(data.length + testRunHeadroom);
    options.data_in = data.data;
    options.data_size_in = static_cast<uint32_t>(data.length);
    options.data_out = dataOut.data();
    options.data_size_out = static_cast<uint32_t>(dataOut.size());
  }
  if (isGiven(info, 2)) {
    Bytes ctx = bytesArgument(info, 2);
    options.ctx_in = ctx.data;
    options.ctx_size_in = static_cast<uint32_t>(ctx.length);
    ctxOut.assign(ctx.data, ctx.data + ctx.length);
    // A syscall program's context is read and written in place; a result buffer for it is refused (EINVAL).
    if (!info[4].ToBoolean()) {
      options.ctx_out = ctxOut.data();
      options.ctx_size_out = static_cast<uint32_t>(ctxOut.size());
    } else {
      options.ctx_in = ctxOut.data();
    }
  }
  options.repeat = intArgument(info, 3);
  if (bpf_prog_test_run_opts(intArgument(info, 0), &options) != 0)
    throw callError(env, "bpf(BPF_PROG_TEST_RUN)", errno);

  Napi::Object row = Napi::Object::New(env);
  row.Set("retval", options.retval);
  row.Set("durationNs", options.duration);
  if (options.data_in != nullptr)
    row.Set("data", Napi::Buffer<uint8_t>::Copy(env, dataOut.data(), options.data_size_out));
  if (options.ctx_in != nullptr)
    row.Set("ctx", Napi::Buffer<uint8_t>::Copy(env, ctxOut.data(), ctxOut.size()));
  return row;
}

} // namespace

void addPrograms(Napi::Env env, Napi::Object exports) {
  exports.Set("programInfo", Napi::Function::New<programInfo>(env, "programInfo"));
  exports.Set("programFdById", Napi::Function::New<programFdById>(env, "programFdById"));
  exports.Set("testRun", Napi::Function::New<testRun>(env, "testRun"));
}
