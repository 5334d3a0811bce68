// Links of programs that follow the kernel itself: at a static tracepoint, at a tracepoint by its type in the kernel's
// BTF, and iterators.
#include "arguments.h"
#include "error.h"
#include "modules.h"
#include "native/descriptor.h"
#include "native/javascript_error.h"
#include "native/netns_thread.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr char tracefs[] = "tracefs";

// A tracefs that is mounted nowhere: it lasts as long as the descriptor, and nobody else can see it.
Descriptor detachedTracefs() {
  const Descriptor context(fsopen(tracefs, FSOPEN_CLOEXEC));
  if (!context.valid())
    fail("fsopen", tracefs);
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    fail("fsconfig", tracefs);
  Descriptor mount(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!mount.valid())
    fail("fsmount", tracefs);
  return mount;
}

// The number of a tracepoint such as "syscalls/sys_enter_mkdirat", which perf_event_open(2) wants.
uint64_t tracepointId(const std::string &name) {
  const Descriptor mount = detachedTracefs();
  const std::string path = "events/" + name + "/id";
  const Descriptor file(openat(mount.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid())
    fail("openat", path);
  char text[32] = "";
  if (read(file.get(), text, sizeof text - 1) <= 0)
    fail("read", path);
  return strtoull(text, nullptr, 10);
}

// linkTracepoint(programFd, name) -> fd
Napi::Value linkTracepoint(const Napi::CallbackInfo &info) {
  const int program = intArgument(info, 0);
  const std::string name = stringArgument(info, 1);
  struct perf_event_attr attributes = {};
  attributes.type = PERF_TYPE_TRACEPOINT;
  attributes.size = sizeof attributes;
  attributes.config = tracepointId(name);
  // The event of one processor will do: the kernel runs the tracepoint's programs on every one (perf_syscall_enter,
  // perf_trace_run_bpf_submit). The link keeps the event.
  const Descriptor event(static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event.valid())
    fail("perf_event_open", name);
  const int fd = bpf_link_create(program, event.get(), BPF_PERF_EVENT, nullptr);
  if (fd < 0)
    fail("bpf(BPF_LINK_CREATE)", name);
  return Napi::Number::New(info.Env(), fd);
}

// linkRawTracepoint(programFd) -> fd; the program says which tracepoint or function it is for.
Napi::Value linkRawTracepoint(const Napi::CallbackInfo &info) {
  const int fd = bpf_raw_tracepoint_open(nullptr, intArgument(info, 0));
  if (fd < 0)
    throw callError(info.Env(), "bpf(BPF_RAW_TRACEPOINT_OPEN)", errno);
  return Napi::Number::New(info.Env(), fd);
}

// iterate(linkFd, netnsFd, netnsPath) -> what the program wrote. An iterator over sockets takes the namespace of the
// thread that makes it (bpf_iter_init_seq_net).
Napi::Value iterate(const Napi::CallbackInfo &info) {
  const int link = intArgument(info, 0);
  const std::string path = stringArgument(info, 2);
  const std::vector<uint8_t> written = insideNetns(intArgument(info, 1), path, [&] {
    const Descriptor iterator(bpf_iter_create(link));
    if (!iterator.valid())
      fail("bpf(BPF_ITER_CREATE)", path);
    std::vector<uint8_t> bytes;
    uint8_t part[4096];
    for (;;) {
      const ssize_t size = read(iterator.get(), part, sizeof part);
      // EAGAIN: it has been through very many objects without anything to write, and goes on (bpf_seq_read).
      if (size < 0 && (errno == EINTR || errno == EAGAIN))
        continue;
      if (size < 0)
        fail("read", path);
      if (size == 0)
        return bytes;
      bytes.insert(bytes.end(), part, part + size);
    }
  });
  return Napi::Buffer<uint8_t>::Copy(info.Env(), written.data(), written.size());
}

} // namespace

void addTracing(Napi::Env env, Napi::Object exports) {
  exports.Set("linkTracepoint", Napi::Function::New<guarded<linkTracepoint>>(env, "linkTracepoint"));
  exports.Set("linkRawTracepoint", Napi::Function::New<linkRawTracepoint>(env, "linkRawTracepoint"));
  exports.Set("iterate", Napi::Function::New<guarded<iterate>>(env, "iterate"));
}
