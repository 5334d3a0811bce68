// The kernel runs a socket's filter before it looks at a segment (tcp_filter in net/ipv4/tcp_ipv4.c and
// net/ipv6/tcp_ipv6.c), and discards what the filter does not accept, without an answer and without a line in its log.
#include "silent_listener.h"

#include <climits>

#include <linux/filter.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "arguments.h"
#include "native/descriptor.h"
#include "native/netns_thread.h"
#include "seqpacket.h"

namespace {

constexpr char silent[] = "a silent listener";

template <typename Value> void setOption(const Descriptor &socket, int level, int name, const Value &value) {
  if (setsockopt(socket.get(), level, name, &value, sizeof(value)) < 0)
    fail("setsockopt", silent);
}

// Accepts no byte of any packet, for good.
void discardEverything(const Descriptor &socket) {
  sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  setOption(socket, SOL_SOCKET, SO_ATTACH_FILTER, sock_fprog{1, &nothing});
  setOption(socket, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

Descriptor listenInNewNetns() {
  if (unshare(CLONE_NEWNET) < 0)
    fail("unshare", silent);
  Descriptor socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid())
    fail("socket", silent);
  setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  discardEverything(socket);
  // The kernel chooses the port.
  if (listen(socket.get(), 0) < 0)
    fail("listen", silent);
  return socket;
}

} // namespace

Napi::Value silentListener(const Napi::CallbackInfo &info) {
  return OwnedFd::wrap(info.Env(), onOwnThread(silent, listenInNewNetns));
}

// The kernel keeps a socket's time-out in jiffies and rounds it up (sock_set_timeout of net/core/sock.c).
Napi::Value jiffyMicroseconds(const Napi::CallbackInfo &info) {
  constexpr char what[] = "a socket's time-out";
  const Descriptor any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any.valid())
    fail("socket", what);
  timeval shortest = {.tv_sec = 0, .tv_usec = 1};
  socklen_t length = sizeof(shortest);
  if (setsockopt(any.get(), SOL_SOCKET, SO_RCVTIMEO, &shortest, length) < 0)
    fail("setsockopt", what);
  if (getsockopt(any.get(), SOL_SOCKET, SO_RCVTIMEO, &shortest, &length) < 0)
    fail("getsockopt", what);
  return Napi::Number::New(info.Env(), static_cast<double>(shortest.tv_usec));
}
