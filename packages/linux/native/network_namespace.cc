// Enters a network namespace on a thread made for it. setns(2) changes the calling thread only, and no thread of Node's
// may be changed: libuv's pool would go on to run other people's work in the wrong namespace.
#include "network_namespace.h"

#include <optional>
#include <thread>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <system_error>

#include "address_dump.h"
#include "arguments.h"
#include "native/descriptor.h"

namespace {

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 // asm-generic/socket.h, Linux 5.14
#endif

struct NamespaceFacts {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t cookie = 0;
  std::vector<NamedAddress> addresses;
};

// Runs on the thread of its own: after setns there is no way back, and none is needed.
void readInside(int netns, const std::string &path, bool withAddresses, NamespaceFacts &facts) {
  if (setns(netns, CLONE_NEWNET) < 0)
    fail("setns", path);
  Descriptor probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.valid())
    fail("socket", path);
  socklen_t length = sizeof(facts.cookie);
  if (getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &facts.cookie, &length) < 0)
    fail("getsockopt", path + " (SO_NETNS_COOKIE)");
  if (withAddresses)
    facts.addresses = dumpAddresses(path);
}

// The path is opened once, so that all facts are of one namespace even if the path's process dies meanwhile.
NamespaceFacts readFacts(const std::string &path, bool withAddresses) {
  Descriptor netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid())
    fail("open", path);
  struct stat status;
  if (fstat(netns.get(), &status) < 0)
    fail("fstat", path);
  NamespaceFacts facts;
  facts.device = status.st_dev;
  facts.inode = status.st_ino;

  std::exception_ptr error;
  // Signals stay with Node's threads: the new thread inherits the mask that is set while it is made.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::optional<std::thread> thread;
  try {
    thread.emplace([&] {
      try {
        readInside(netns.get(), path, withAddresses, facts);
      } catch (...) {
        error = std::current_exception();
      }
    });
  } catch (const std::system_error &refused) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw Failure{"pthread_create", refused.code().value(), path};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  thread->join();
  if (error)
    std::rethrow_exception(error);
  return facts;
}

// rtnetlink's scopes are a scale from everywhere (0) to nowhere (255); values between the names are the user's own.
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
  return object;
}

} // namespace

Napi::Value readNetns(const Napi::CallbackInfo &info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const std::string path = textArgument(info, 0, "netnsPath");
    const bool withAddresses = info[1].ToBoolean();
    const NamespaceFacts facts = readFacts(path, withAddresses);
    Napi::Array addresses = Napi::Array::New(env, facts.addresses.size());
    for (uint32_t i = 0; i < facts.addresses.size(); i++)
      addresses.Set(i, addressObject(env, facts.addresses[i]));
    Napi::Object result = Napi::Object::New(env);
    result.Set("dev", Napi::BigInt::New(env, facts.device));
    result.Set("inode", Napi::BigInt::New(env, facts.inode));
    result.Set("cookie", Napi::BigInt::New(env, facts.cookie));
    result.Set("addresses", addresses);
    return result;
  });
}
