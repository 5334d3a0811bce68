// unshare(2) moves the calling thread only: it is done on a thread of its own, and the open file keeps the namespace
// when that has ended.
#include "new_netns.h"

#include <cstring>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "native/descriptor.h"
#include "native/javascript_error.h"
#include "netns_thread.h"
#include "seqpacket.h"

namespace {

constexpr char object[] = "a new network namespace";

void bringLoopbackUp() {
  const Descriptor any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any.valid())
    fail("socket", object);
  ifreq loopback = {};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  if (ioctl(any.get(), SIOCSIFFLAGS, &loopback) < 0)
    fail("ioctl", object);
}

} // namespace

Napi::Value newNetns(const Napi::CallbackInfo &info) {
  return guarded(info, [&]() -> Napi::Value {
    Descriptor made;
    onOwnThread(object, [&] {
      if (unshare(CLONE_NEWNET) < 0)
        fail("unshare", object);
      bringLoopbackUp();
      made = Descriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      if (!made.valid())
        fail("open", "/proc/thread-self/ns/net");
    });
    return OwnedFd::wrap(info.Env(), std::move(made));
  });
}
