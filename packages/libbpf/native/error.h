// Failures of bpf(2) and of libbpf as JavaScript errors, and a capture of what libbpf prints while one call runs.
#pragma once

#include <napi.h>
#include <string>

// Collects libbpf's messages of this thread from construction to destruction. libbpf has one print function for the
// whole process; a thread-local target keeps the messages of concurrent calls (worker threads) apart.
class LogCapture {
public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture &) = delete;
  LogCapture &operator=(const LogCapture &) = delete;
  const std::string &text() const { return text_; }

private:
  std::string text_;
  std::string *outer_;
};

// Points libbpf's print function at the captures. Called once, when the addon is loaded.
void installLogCapture();

// The Error of native/javascript_error.h, with libbpfLog if the given capture holds anything. libbpf numbers its own
// errors from 4000 on; their code is 'LIBBPF_FORMAT' or the like.
Napi::Error callError(Napi::Env env, const char *call, int err, const LogCapture *log = nullptr);
