// See error.h.
#include "error.h"
#include "native/javascript_error.h"

#include <bpf/libbpf.h>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <vector>

namespace {

thread_local std::string *capture = nullptr;

// enum libbpf_errno, in bpf/libbpf_legacy.h order, starting at __LIBBPF_ERRNO__START (4000).
constexpr const char *libbpfNames[] = {"LIBBPF_LIBELF",   "LIBBPF_FORMAT", "LIBBPF_KVERSION", "LIBBPF_ENDIAN",
                                       "LIBBPF_INTERNAL", "LIBBPF_RELOC",  "LIBBPF_LOAD",     "LIBBPF_VERIFY",
                                       "LIBBPF_PROG2BIG", "LIBBPF_KVER",   "LIBBPF_PROGTYPE", "LIBBPF_WRNGPID",
                                       "LIBBPF_INVSEQ",   "LIBBPF_NLPARSE"};

int print(enum libbpf_print_level level, const char *format, va_list args) {
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

void installLogCapture() {
  libbpf_set_print(print);
}

Napi::Error callError(Napi::Env env, const char *call, int err, const LogCapture *log) {
  const Failure failure{call, std::abs(err), ""}; // src/error.ts names the object
  const int own = failure.error - __LIBBPF_ERRNO__START;
  const bool named = own >= 0 && own < static_cast<int>(std::size(libbpfNames));
  char text[256] = "";
  libbpf_strerror(failure.error, text, sizeof text);
  Napi::Error error = named ? toJavaScript(env, failure, libbpfNames[own], text) : toJavaScript(env, failure);
  if (log != nullptr && !log->text().empty())
    error.Set("libbpfLog", log->text());
  return error;
}
