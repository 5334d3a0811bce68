// The namespace is made on a thread of its own (native/netns_thread.h); the open file keeps it when that has ended.
#include "new_netns.h"

#include <cstring>

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "native/descriptor.h"
#include "native/javascript_error.h"
#include "native/netns_thread.h"
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
  Descriptor made = onOwnThread(object, [] {
    if (unshare(CLONE_NEWNET) < 0)
      fail("unshare", object);
    bringLoopbackUp();
    Descriptor opened(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!opened.valid())
      fail("open", "/proc/thread-self/ns/net");
    return opened;
  });
  return OwnedFd::wrap(info.Env(), std::move(made));
}
