// if_nameindex(3) on a thread inside the namespace: it asks the kernel of the calling thread's namespace.
#include "network_devices.h"

#include <climits>
#include <string>
#include <utility>
#include <vector>

#include <net/if.h>

#include "arguments.h"
#include "native/failure.h"
#include "native/netns_thread.h"

Napi::Value netnsDevices(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  std::vector<std::pair<unsigned, std::string>> found;
  insideNetns(netns, path, [&] {
    struct if_nameindex *all = ::if_nameindex();
    if (all == nullptr)
      fail("if_nameindex", path);
    for (const struct if_nameindex *one = all; one->if_index != 0; one++)
      found.emplace_back(one->if_index, one->if_name);
    ::if_freenameindex(all);
  });
  Napi::Array result = Napi::Array::New(info.Env(), found.size());
  for (size_t i = 0; i < found.size(); i++) {
    Napi::Object device = Napi::Object::New(info.Env());
    device.Set("ifindex", Napi::Number::New(info.Env(), found[i].first));
    device.Set("name", Napi::String::New(info.Env(), found[i].second));
    result.Set(static_cast<uint32_t>(i), device);
  }
  return result;
}
