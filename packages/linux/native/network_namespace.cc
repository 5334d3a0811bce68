// Opens network namespaces and makes new ones; questions that need a thread inside one are asked from such a thread.
#include "network_namespace.h"

#include <climits>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "address_dump.h"
#include "arguments.h"
#include "native/descriptor.h"
#include "native/netns_thread.h"
#include "seqpacket.h"

namespace {

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 // asm-generic/socket.h, Linux 5.14
#endif

constexpr char newOne[] = "a new network namespace";

// Only for a thread inside the namespace.
uint64_t ownCookie(const std::string &path) {
  const Descriptor probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.valid())
    fail("socket", path);
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) < 0)
    fail("getsockopt", path + " (SO_NETNS_COOKIE)");
  return cookie;
}

struct stat statusOf(const Descriptor &opened, const std::string &path) {
  struct stat status;
  if (fstat(opened.get(), &status) < 0)
    fail("fstat", path);
  return status;
}

// Takes ownership of the open namespace. setns(2) fails for anything else.
Napi::Object netnsObject(Napi::Env env, Descriptor netns, const std::string &path) {
  const struct stat status = statusOf(netns, path);
  const uint64_t cookie = insideNetns(netns.get(), path, [&] { return ownCookie(path); });
  Napi::Object object = Napi::Object::New(env);
  object.Set("owned", OwnedFd::wrap(env, std::move(netns)));
  object.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(status.st_dev)));
  object.Set("inode", Napi::BigInt::New(env, static_cast<uint64_t>(status.st_ino)));
  object.Set("cookie", Napi::BigInt::New(env, cookie));
  return object;
}

void bringLoopbackUp() {
  const Descriptor any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any.valid())
    fail("socket", newOne);
  ifreq loopback = {};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  if (ioctl(any.get(), SIOCSIFFLAGS, &loopback) < 0)
    fail("ioctl", newOne);
}

// rtnetlink's scopes are a scale from everywhere (0) to nowhere (255); values between the named ones are user-defined.
const char *scopeName(uint8_t scope) {
  if (scope >= RT_SCOPE_HOST)
    return "host";
  if (scope >= RT_SCOPE_LINK)
    return "link";
  return scope >= RT_SCOPE_SITE ? "site" : "global";
}

Napi::Object addressObject(Napi::Env env, const NamedAddress &named) {
  const Address &address = named.address;
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(address.family == 4 ? AF_INET : AF_INET6, address.bytes, text, sizeof(text));
  Napi::Object object = Napi::Object::New(env);
  object.Set("ifindex", address.ifindex);
  object.Set("name", named.interfaceName);
  object.Set("family", static_cast<double>(address.family));
  object.Set("address", text);
  object.Set("prefixLength", static_cast<double>(address.prefixLength));
  object.Set("scope", scopeName(address.scope));
  object.Set("deprecated", (address.flags & IFA_F_DEPRECATED) != 0);
  object.Set("tentative", (address.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0);
  return object;
}

// ioctl_ns(2): EPERM for the parent of the initial user namespace, or of one outside of the caller's.
bool isOutOfReach(const Descriptor &parent) {
  return !parent.valid() && errno == EPERM;
}

} // namespace

Napi::Value openNetns(const Napi::CallbackInfo &info) {
  const std::string path = textArgument(info, 0, "netnsPath");
  // O_NONBLOCK: a FIFO in place of a namespace must not block the process.
  Descriptor netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!netns.valid())
    fail("open", path);
  return netnsObject(info.Env(), std::move(netns), path);
}

Napi::Value newNetns(const Napi::CallbackInfo &info) {
  // The open file keeps the namespace after the thread has ended.
  Descriptor made = onOwnThread(newOne, [] {
    if (unshare(CLONE_NEWNET) < 0)
      fail("unshare", newOne);
    bringLoopbackUp();
    Descriptor opened(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!opened.valid())
      fail("open", "/proc/thread-self/ns/net");
    return opened;
  });
  return netnsObject(info.Env(), std::move(made), newOne);
}

Napi::Value netnsAddresses(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  const std::vector<NamedAddress> addresses = insideNetns(netns, path, [&] { return dumpAddresses(path); });
  Napi::Array result = Napi::Array::New(env, addresses.size());
  for (uint32_t i = 0; i < addresses.size(); i++)
    result.Set(i, addressObject(env, addresses[i]));
  return result;
}

Napi::Value netnsOwner(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  const Descriptor owner(ioctl(netns, NS_GET_USERNS));
  if (!owner.valid())
    fail("ioctl", path + " (NS_GET_USERNS)");
  const struct stat own = statusOf(owner, path);
  Napi::Object object = Napi::Object::New(env);
  object.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(own.st_dev)));
  object.Set("inode", Napi::BigInt::New(env, static_cast<uint64_t>(own.st_ino)));
  const Descriptor parent(ioctl(owner.get(), NS_GET_PARENT));
  if (isOutOfReach(parent))
    return object;
  if (!parent.valid())
    fail("ioctl", path + " (NS_GET_PARENT)");
  const struct stat above = statusOf(parent, path);
  object.Set("parentDev", Napi::BigInt::New(env, static_cast<uint64_t>(above.st_dev)));
  object.Set("parentInode", Napi::BigInt::New(env, static_cast<uint64_t>(above.st_ino)));
  return object;
}
