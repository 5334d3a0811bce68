// Everything is read through one open file, by a thread inside the namespace.
#include "network_namespace.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "address_dump.h"
#include "arguments.h"
#include "native/descriptor.h"
#include "native/netns_thread.h"

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

// For a thread inside the namespace only.
NamespaceFacts readInside(const std::string &path, bool withAddresses) {
  NamespaceFacts facts;
  Descriptor probe(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe.valid())
    fail("socket", path);
  socklen_t length = sizeof(facts.cookie);
  if (getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, &facts.cookie, &length) < 0)
    fail("getsockopt", path + " (SO_NETNS_COOKIE)");
  if (withAddresses)
    facts.addresses = dumpAddresses(path);
  return facts;
}

// Opened once, so that all facts are of one namespace even if the path's process dies meanwhile.
NamespaceFacts readFacts(const std::string &path, bool withAddresses) {
  Descriptor netns(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid())
    fail("open", path);
  struct stat status;
  if (fstat(netns.get(), &status) < 0)
    fail("fstat", path);
  NamespaceFacts facts = insideNetns(netns.get(), path, [&] { return readInside(path, withAddresses); });
  facts.device = status.st_dev;
  facts.inode = status.st_ino;
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
}
