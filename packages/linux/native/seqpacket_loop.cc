// Waits in epoll_wait without the lock; then does one step of the requests of each socket that is ready, with the lock.
#include "seqpacket_loop.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <utility>

#include "native/failure.h"

namespace {

// The stop event's place in epoll's data; sockets count from 1.
constexpr SocketId stopId = 0;
// Events of one epoll_wait. There are a handful of sockets.
constexpr int eventsPerWait = 32;

Descriptor duplicate(int fd) {
  Descriptor copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid())
    fail("fcntl", "descriptor " + std::to_string(fd) + " of a packet");
  return copy;
}

} // namespace

SeqpacketLoop::SeqpacketLoop(std::function<void()> wake)
    : wake_(std::move(wake)), epoll_(::epoll_create1(EPOLL_CLOEXEC)), stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_.valid())
    fail("epoll_create1", "seqpacket sockets");
  if (!stop_.valid())
    fail("eventfd", "seqpacket sockets");
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u32 = stopId;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) < 0)
    fail("epoll_ctl", "seqpacket sockets");
  if (const int error = thread_.start("seqpacket", [this] { run(); }); error != 0)
    throw Failure{"pthread_create", error, "seqpacket sockets"};
}

SeqpacketLoop::~SeqpacketLoop() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
  for (const auto &[id, socket] : sockets_) {
    if (socket.file)
      removeSocketFile(*socket.file);
  }
}

SocketId SeqpacketLoop::add(Descriptor fd, std::optional<SocketFile> file) {
  std::lock_guard<std::mutex> lock(mutex_);
  const SocketId id = nextSocket_++;
  sockets_.emplace(id, std::move(fd)).first->second.file = std::move(file);
  return id;
}

void SeqpacketLoop::accept(SocketId id, RequestId request) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    return;
  found->second.awaited = request;
  updateInterest(id, found->second);
}

void SeqpacketLoop::receive(SocketId id, RequestId request, size_t maxBytes, size_t maxDescriptors) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    return;
  found->second.awaited = request;
  found->second.maxBytes = maxBytes;
  found->second.maxDescriptors = maxDescriptors;
  updateInterest(id, found->second);
}

bool SeqpacketLoop::send(SocketId id, RequestId request, std::vector<uint8_t> bytes,
                         const std::vector<int> &descriptors) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    throw Failure{"sendmsg", EBADF, "a closed socket"};
  Socket &socket = found->second;
  if (socket.outgoing.empty()) {
    const SeqpacketOutcome outcome = sendSeqpacket(socket.fd.get(), bytes.data(), bytes.size(), descriptors);
    if (outcome.result == SeqpacketResult::Done)
      return true;
    if (outcome.result == SeqpacketResult::Failed)
      throw Failure{outcome.syscall, outcome.error, std::to_string(bytes.size()) + " bytes"};
  }
  // The caller may close its descriptors as soon as this returns, and the numbers may then mean other files.
  Outgoing waiting{request, std::move(bytes), {}};
  for (int fd : descriptors)
    waiting.descriptors.push_back(duplicate(fd));
  socket.outgoing.push_back(std::move(waiting));
  updateInterest(id, socket);
  return false;
}

bool SeqpacketLoop::readable(SocketId id) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    return false;
  const bool underWay = std::any_of(completions_.begin(), completions_.end(), [&](const SeqpacketCompletion &one) {
    return one.socket == id && one.kind != SeqpacketCompletion::Kind::Sent;
  });
  pollfd state = {found->second.fd.get(), POLLIN, 0};
  return underWay || ::poll(&state, 1, 0) > 0;
}

void SeqpacketLoop::endSending(SocketId id) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    throw Failure{"shutdown", EBADF, "a closed socket"};
  if (::shutdown(found->second.fd.get(), SHUT_WR) < 0)
    fail("shutdown", "a seqpacket socket");
}

void SeqpacketLoop::close(SocketId id) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    return;
  if (found->second.file)
    removeSocketFile(*found->second.file);
  // Closing the only descriptor removes it from the epoll set. If the thread already holds an event for it, it finds no
  // socket with this id.
  sockets_.erase(found);
}

std::vector<SeqpacketCompletion> SeqpacketLoop::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  waking_ = false;
  return std::exchange(completions_, {});
}

void SeqpacketLoop::run() {
  epoll_event events[eventsPerWait];
  for (;;) {
    const int ready = ::epoll_wait(epoll_.get(), events, eventsPerWait, -1);
    if (ready < 0 && errno != EINTR)
      return;
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u32 == stopId)
        return;
      handle(events[i].data.u32, events[i].events);
    }
  }
}

void SeqpacketLoop::handle(SocketId id, uint32_t events) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sockets_.find(id);
  if (found == sockets_.end())
    return;
  // epoll goes on reporting these: what still waits after its step will never be done.
  const bool broken = (events & (EPOLLHUP | EPOLLERR)) != 0;
  handleAwaited(id, found->second, broken);
  handleOutgoing(id, found->second, broken);
  updateInterest(id, found->second);
}

void SeqpacketLoop::handleAwaited(SocketId id, Socket &socket, bool broken) {
  if (!socket.awaited)
    return;
  SeqpacketCompletion completion;
  completion.request = *socket.awaited;
  completion.socket = id;
  SeqpacketOutcome outcome;
  Descriptor accepted;
  if (socket.file)
    outcome = acceptSeqpacket(socket.fd.get(), accepted);
  else
    outcome = receiveSeqpacket(socket.fd.get(), socket.maxBytes, socket.maxDescriptors, completion.packet);
  if (outcome.result == SeqpacketResult::Again) {
    if (!broken)
      return;
    outcome = {SeqpacketResult::Failed, ECONNRESET, socket.file ? "accept4" : "recvmsg"};
  }
  socket.awaited.reset();
  if (outcome.result == SeqpacketResult::Done && socket.file) {
    try {
      completion.peer = seqpacketPeer(accepted.get());
      completion.kind = SeqpacketCompletion::Kind::Accepted;
      completion.socket = nextSocket_++;
      sockets_.emplace(completion.socket, std::move(accepted));
    } catch (const Failure &failure) {
      outcome = {SeqpacketResult::Failed, failure.error, failure.syscall};
    }
  } else if (outcome.result == SeqpacketResult::Done) {
    completion.kind = SeqpacketCompletion::Kind::Received;
  } else if (outcome.result == SeqpacketResult::End) {
    completion.kind = SeqpacketCompletion::Kind::Ended;
  }
  completion.error = outcome.error;
  completion.syscall = outcome.syscall;
  complete(std::move(completion));
}

void SeqpacketLoop::handleOutgoing(SocketId id, Socket &socket, bool broken) {
  while (!socket.outgoing.empty()) {
    const Outgoing &next = socket.outgoing.front();
    std::vector<int> descriptors;
    for (const Descriptor &one : next.descriptors)
      descriptors.push_back(one.get());
    SeqpacketOutcome outcome = sendSeqpacket(socket.fd.get(), next.bytes.data(), next.bytes.size(), descriptors);
    if (outcome.result == SeqpacketResult::Again) {
      if (!broken)
        return;
      outcome = {SeqpacketResult::Failed, EPIPE, "sendmsg"};
    }
    SeqpacketCompletion completion;
    completion.request = next.request;
    completion.socket = id;
    if (outcome.result == SeqpacketResult::Done)
      completion.kind = SeqpacketCompletion::Kind::Sent;
    completion.error = outcome.error;
    completion.syscall = outcome.syscall;
    socket.outgoing.pop_front();
    complete(std::move(completion));
  }
}

// A socket without requests is not in the epoll set at all: epoll would report its hang-up endlessly.
void SeqpacketLoop::updateInterest(SocketId id, Socket &socket) {
  const uint32_t wanted = (socket.awaited ? static_cast<uint32_t>(EPOLLIN) : 0u) |
                          (socket.outgoing.empty() ? 0u : static_cast<uint32_t>(EPOLLOUT));
  if (wanted == socket.interest)
    return;
  const int operation = wanted == 0 ? EPOLL_CTL_DEL : socket.interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  epoll_event event = {};
  event.events = wanted;
  event.data.u32 = id;
  if (::epoll_ctl(epoll_.get(), operation, socket.fd.get(), &event) == 0) {
    socket.interest = wanted;
    return;
  }
  // Kernel memory or fs.epoll.max_user_watches is exhausted: waiting requests fail instead of waiting for ever.
  const int error = errno;
  SeqpacketCompletion completion;
  completion.socket = id;
  completion.error = error;
  completion.syscall = "epoll_ctl";
  if (socket.awaited) {
    completion.request = *socket.awaited;
    socket.awaited.reset();
    complete(std::move(completion));
  }
  for (; !socket.outgoing.empty(); socket.outgoing.pop_front()) {
    SeqpacketCompletion failed;
    failed.request = socket.outgoing.front().request;
    failed.socket = id;
    failed.error = error;
    failed.syscall = "epoll_ctl";
    complete(std::move(failed));
  }
}

void SeqpacketLoop::complete(SeqpacketCompletion completion) {
  completions_.push_back(std::move(completion));
  if (!waking_) {
    waking_ = true;
    wake_();
  }
}
