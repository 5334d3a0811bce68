// peer memberships: asks a netlink socket which groups it is a member of, as systemd does to learn how long the answer
// is. The kernel names that length whichever one was asked for.
#include "commands.h"
#include "json.h"
#include "options.h"
#include "sockets.h"
#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <vector>

int run_memberships(int argc, char **argv) {
  const Options options(argc, argv, {});
  const Descriptor fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  const int group = RTNLGRP_LINK;
  if (fd.get() < 0 || setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
    fail("join a netlink group");
  std::vector<char> groups(static_cast<size_t>(options.number("length", 0)));
  socklen_t length = static_cast<socklen_t>(groups.size());
  const int status = getsockopt(fd.get(), SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups.data(), &length);
  const char *error = status == 0 ? "" : strerrorname_np(errno);
  puts(JsonLine().text("error", error).number("length", length).str().c_str());
  return 0;
}
