// See error.h.
#include "error.h"

#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <vector>

namespace sluice {
namespace {

thread_local std::string *capture = nullptr;

// The kernel's own number behind "operation not supported" in many BPF commands; it never became part of the user API,
// so that libc has no name for it (include/linux/errno.h).
constexpr int kKernelNotSupported = 524;

// enum libbpf_errno, in bpf/libbpf_legacy.h order, starting at __LIBBPF_ERRNO__START (4000).
constexpr const char *kLibbpfNames[] = {"LIBBPF_LIBELF",   "LIBBPF_FORMAT", "LIBBPF_KVERSION", "LIBBPF_ENDIAN",
                                        "LIBBPF_INTERNAL", "LIBBPF_RELOC",  "LIBBPF_LOAD",     "LIBBPF_VERIFY",
                                        "LIBBPF_PROG2BIG", "LIBBPF_KVER",   "LIBBPF_PROGTYPE", "LIBBPF_WRNGPID",
                                        "LIBBPF_INVSEQ",   "LIBBPF_NLPARSE"};

int Print(enum libbpf_print_level level, const char *format, va_list args) {
  if (capture == nullptr || level == LIBBPF_DEBUG)
    return 0;
  va_list again;
  va_copy(again, args);
  int length = vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length <= 0)
    return 0;
  std::vector<char> line(static_cast<size_t>(length) + 1);
  vsnprintf(line.data(), line.size(), format, args);
  capture->append(line.data(), static_cast<size_t>(length));
  return 0;
}

} // namespace

LogCapture::LogCapture() : outer_(capture) {
  capture = &text_;
}
LogCapture::~LogCapture() {
  capture = outer_;
}

void InstallLogCapture() {
  libbpf_set_print(Print);
}

std::string ErrnoName(int err) {
  if (err == kKernelNotSupported)
    return "ENOTSUPP";
  int own = err - __LIBBPF_ERRNO__START;
  if (own >= 0 && own < static_cast<int>(sizeof(kLibbpfNames) / sizeof(kLibbpfNames[0])))
    return kLibbpfNames[own];
  const char *name = strerrorname_np(err);
  return name != nullptr ? name : "ERRNO_" + std::to_string(err);
}

Napi::Error CallError(Napi::Env env, const char *call, int err, const LogCapture *log) {
  if (err < 0)
    err = -err;
  char text[256] = "";
  if (err == kKernelNotSupported)
    snprintf(text, sizeof text, "Operation not supported by this kernel");
  else
    libbpf_strerror(err, text, sizeof text);
  std::string code = ErrnoName(err);
  Napi::Error error = Napi::Error::New(env, std::string(call) + ": " + text + " (" + code + ")");
  error.Set("code", Napi::String::New(env, code));
  error.Set("errno", Napi::Number::New(env, err));
  error.Set("syscall", Napi::String::New(env, call));
  error.Set("text", Napi::String::New(env, text));
  if (log != nullptr && !log->text().empty())
    error.Set("libbpfLog", Napi::String::New(env, log->text()));
  return error;
}

} // namespace sluice
