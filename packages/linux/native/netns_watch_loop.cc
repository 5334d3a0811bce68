// The sockets are in an epoll set that reports each of them once (EPOLLONESHOT), and again when take() has emptied it.
#include "netns_watch_loop.h"

#include <cerrno>
#include <utility>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "native/failure.h"
#include "native/netns_thread.h"

namespace {

// The stop event's place in epoll's data; watches count from 1.
constexpr WatchId stopId = 0;
constexpr int eventsPerWait = 32;
constexpr char everyWatch[] = "watches of network namespaces";
// What is read of one namespace before the others have their turn. Somebody in it may change things without end.
constexpr int messagesPerTurn = 1024;

constexpr uint32_t bit(unsigned group) {
  return uint32_t{1} << (group - 1);
}
constexpr uint32_t groups = bit(RTNLGRP_LINK) | bit(RTNLGRP_IPV4_RULE) | bit(RTNLGRP_IPV6_RULE) |
                            bit(RTNLGRP_IPV4_ROUTE) | bit(RTNLGRP_IPV6_ROUTE) | bit(RTNLGRP_IPV4_IFADDR) |
                            bit(RTNLGRP_IPV6_IFADDR);

// Only for a thread inside the namespace, to which the socket belongs for as long as it is open.
Descriptor subscribe(const std::string &object) {
  Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!socket.valid())
    fail("socket", object + " (NETLINK_ROUTE)");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(socket.get(), reinterpret_cast<sockaddr *>(&address), sizeof(address)) < 0)
    fail("bind", object + " (NETLINK_ROUTE)");
  return socket;
}

// What is read of a notification.
struct Notification {
  nlmsghdr header;
  ifinfomsg device; // of RTM_NEWLINK
};

void note(const Notification &read, NetnsChanges &changes) {
  switch (read.header.nlmsg_type) {
  case RTM_NEWLINK:
    // The kernel takes the IPv4 routes of a device that goes down, and says so by nothing else
    // (net/ipv4/fib_frontend.c, fib_disable_ip).
    changes.devices = changes.devices || (read.device.ifi_change & IFF_UP) != 0;
    break;
  case RTM_NEWRULE:
  case RTM_DELRULE:
    changes.rules = true;
    break;
  case RTM_NEWROUTE:
  case RTM_DELROUTE:
    changes.routes = true;
    break;
  case RTM_NEWADDR:
  case RTM_DELADDR:
    changes.addresses = true;
    break;
  }
}

// Each notification is a datagram of its own, and its beginning is all that matters: what it says may be old by now.
void drain(int socket, NetnsChanges &changes) {
  for (int count = 0; count < messagesPerTurn; count++) {
    Notification read = {};
    const ssize_t size = ::recv(socket, &read, sizeof(read), 0);
    if (size >= static_cast<ssize_t>(sizeof(read.header))) {
      note(read, changes);
    } else if (size < 0) {
      if (errno == EAGAIN)
        return;
      // ENOBUFS: the queue was full. After any other error, too, nobody knows what has not been read.
      changes.lost = changes.lost || errno != EINTR;
    }
  }
}

} // namespace

NetnsWatchLoop::NetnsWatchLoop(std::function<void()> wake)
    : wake_(std::move(wake)), epoll_(::epoll_create1(EPOLL_CLOEXEC)), stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_.valid())
    fail("epoll_create1", everyWatch);
  if (!stop_.valid())
    fail("eventfd", everyWatch);
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u32 = stopId;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) < 0)
    fail("epoll_ctl", everyWatch);
  if (const int error = thread_.start("netns-watch", [this] { run(); }); error != 0)
    throw Failure{"pthread_create", error, everyWatch};
}

NetnsWatchLoop::~NetnsWatchLoop() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

WatchId NetnsWatchLoop::add(int netns, const std::string &object) {
  Descriptor socket = insideNetns(netns, object, [&] { return subscribe(object); });
  std::lock_guard<std::mutex> lock(mutex_);
  const WatchId watch = next_++;
  if (listen(EPOLL_CTL_ADD, socket.get(), watch) < 0)
    fail("epoll_ctl", object);
  sockets_.emplace(watch, std::move(socket));
  return watch;
}

void NetnsWatchLoop::close(WatchId watch) {
  std::lock_guard<std::mutex> lock(mutex_);
  // Closing the only descriptor removes it from the epoll set. If the thread already holds an event for it, or take()
  // is still to be called, they find no socket with this number.
  sockets_.erase(watch);
}

std::vector<NetnsChanges> NetnsWatchLoop::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  waking_ = false;
  std::vector<NetnsChanges> all;
  for (const WatchId watch : std::exchange(ready_, {})) {
    const auto found = sockets_.find(watch);
    if (found == sockets_.end())
      continue;
    NetnsChanges changes;
    changes.watch = watch;
    drain(found->second.get(), changes);
    // It has its place in the set already, so that this needs no memory and cannot fail.
    listen(EPOLL_CTL_MOD, found->second.get(), watch);
    if (changes.any())
      all.push_back(changes);
  }
  return all;
}

void NetnsWatchLoop::run() {
  epoll_event events[eventsPerWait];
  for (;;) {
    const int ready = ::epoll_wait(epoll_.get(), events, eventsPerWait, -1);
    if (ready < 0 && errno != EINTR)
      return;
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u32 == stopId)
        return;
      noteReady(events[i].data.u32);
    }
  }
}

void NetnsWatchLoop::noteReady(WatchId watch) {
  std::lock_guard<std::mutex> lock(mutex_);
  ready_.push_back(watch);
  if (!waking_) {
    waking_ = true;
    wake_();
  }
}

int NetnsWatchLoop::listen(int operation, int socket, WatchId watch) {
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u32 = watch;
  return ::epoll_ctl(epoll_.get(), operation, socket, &event);
}
