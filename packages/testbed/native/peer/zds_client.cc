// See zds_client.h. The rules are those of ztunnel's src/inpod: workloadmanager.rs and statemanager.rs.
#include "zds_client.h"
#include "json.h"
#include "report.h"
#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace {
constexpr long long FIRST_RECONNECT_MS = 10, LAST_RECONNECT_MS = 15000;
constexpr long long RETRY_MS = 5000;

void report_event(const char *event, const std::string &pod = "") {
  JsonLine line;
  line.text("event", event);
  if (!pod.empty())
    line.text("pod", pod);
  report(line.str());
}

void report_reason(const char *event, const std::string &pod, const std::string &reason) {
  JsonLine line;
  line.text("event", event);
  if (!pod.empty())
    line.text("pod", pod);
  report(line.text("reason", reason).str());
}
} // namespace

ZdsClient::ZdsClient(std::string socket_path, InPodWorkloadOptions prototype)
    : path_(std::move(socket_path)), prototype_(std::move(prototype)), stopping_(eventfd(0, EFD_CLOEXEC)) {}

void ZdsClient::stop() {
  const uint64_t one = 1;
  if (write(stopping_.get(), &one, sizeof one) != sizeof one)
    fail("stop the client");
}

bool ZdsClient::run() {
  while (const auto connection = connect()) {
    named_.clear();
    refused_.clear();
    synced_ = false;
    retry_at_ = 0;
    report_event("connected");
    try {
      converse(*connection);
      report_reason("disconnected", "", "the agent closed the connection");
    } catch (const ProtocolError &error) {
      report_reason("protocol-error", "", error.what());
      return false;
    } catch (const UnreadableMessage &error) {
      report_reason("disconnected", "", error.what());
    } catch (const std::exception &error) {
      report_reason("disconnected", "", error.what());
    }
    ready_ = false; // and every proxy stays as it is
  }
  return true;
}

// Nothing if it is time to stop.
std::unique_ptr<ZdsConnection> ZdsClient::connect() {
  for (long long pause = FIRST_RECONNECT_MS;;) {
    if (wait_for(stopping_.get(), POLLIN, now_ms()))
      return nullptr;
    try {
      return std::make_unique<ZdsConnection>(path_);
    } catch (const std::exception &) {
      pause = std::min(pause * 2, LAST_RECONNECT_MS);
      wait_for(stopping_.get(), POLLIN, now_ms() + pause);
    }
  }
}

ZdsClient::Event ZdsClient::wait(int fd) {
  for (;;) {
    pollfd items[] = {{stopping_.get(), POLLIN, 0}, {fd, POLLIN, 0}};
    const long long left = retry_at_ - now_ms();
    const int count = poll(items, 2, retry_at_ == 0 ? -1 : left > 0 ? static_cast<int>(left) : 0);
    if (count < 0 && errno != EINTR)
      fail("poll");
    if (items[0].revents != 0)
      return Event::stop;
    if (items[1].revents != 0)
      return Event::message;
    if (count == 0)
      return Event::retry;
  }
}

void ZdsClient::converse(ZdsConnection &connection) {
  for (;;) {
    switch (wait(connection.fd())) {
    case Event::stop:
      return;
    case Event::retry:
      retry_refused();
      continue;
    case Event::message:
      break;
    }
    try {
      ReceivedRequest received;
      if (!connection.receive(received))
        return;
      connection.answer(handle(received));
    } catch (const UnreadableMessage &error) {
      connection.answer(error.what());
      throw;
    } catch (const ProtocolError &error) {
      connection.answer(error.what());
      throw;
    }
    say_if_ready();
  }
}

// The answer: '' or the reason of a refusal.
std::string ZdsClient::handle(ReceivedRequest &received) {
  const ZdsRequest &request = received.request;
  switch (request.kind) {
  case ZdsRequest::Kind::add:
    return add(request, std::move(received.netns));
  case ZdsRequest::Kind::keep:
    keep(request);
    return "";
  case ZdsRequest::Kind::del:
    remove(request);
    return "";
  case ZdsRequest::Kind::snapshot_sent:
    snapshot();
    return "";
  }
  return "";
}

std::string ZdsClient::add(const ZdsRequest &request, Descriptor netns) {
  if (!request.has_info)
    throw ProtocolError("failure to process message: an Add without workload_info");
  if (!synced_)
    named_.insert(request.uid);
  try {
    start(request, netns);
    refused_.erase(request.uid);
    return "";
  } catch (const std::exception &error) {
    report_reason("refused", request.uid, error.what());
    refused_[request.uid] = {request, std::move(netns)};
    if (retry_at_ == 0)
      retry_at_ = now_ms() + RETRY_MS;
    return std::string("failure to start proxy: ") + error.what();
  }
}

void ZdsClient::keep(const ZdsRequest &request) {
  if (synced_)
    throw ProtocolError("failure to process message: Keep after SnapshotSent");
  named_.insert(request.uid);
  report_event("kept", request.uid);
}

void ZdsClient::remove(const ZdsRequest &request) {
  if (!synced_)
    named_.erase(request.uid);
  refused_.erase(request.uid);
  drop(request.uid);
  report_event("removed", request.uid);
}

void ZdsClient::snapshot() {
  if (synced_)
    throw ProtocolError("failure to process message: a second SnapshotSent");
  synced_ = true;
  std::vector<std::string> gone;
  for (const auto &item : workloads_)
    if (named_.count(item.first) == 0)
      gone.push_back(item.first);
  for (const std::string &uid : gone) {
    drop(uid);
    report_event("dropped", uid);
  }
  report_event("snapshot");
}

void ZdsClient::start(const ZdsRequest &request, const Descriptor &netns) {
  const auto existing = workloads_.find(request.uid);
  if (existing != workloads_.end()) {
    if (existing->second->is_in(netns))
      return report_event("unchanged", request.uid);
    drop(request.uid);
  }
  InPodWorkloadOptions options = prototype_;
  options.service.pod = request.uid;
  options.service.connections = std::make_shared<OpenConnections>();
  auto workload = std::make_unique<InPodWorkload>(std::move(options), netns);
  report(JsonLine()
             .text("event", "added")
             .text("pod", request.uid)
             .text("name", request.name)
             .text("namespace", request.workload_namespace)
             .text("serviceAccount", request.service_account)
             .number("netns", static_cast<long long>(workload->netns_inode()))
             .str());
  workloads_[request.uid] = std::move(workload);
}

// A deleted workload is drained at once: its listeners close, and its connections break.
void ZdsClient::drop(const std::string &uid) {
  const auto found = workloads_.find(uid);
  if (found == workloads_.end())
    return;
  found->second->stop_accepting();
  found->second->connections()->break_all();
  workloads_.erase(found);
}

void ZdsClient::retry_refused() {
  retry_at_ = 0;
  std::map<std::string, RefusedAdd> again;
  std::swap(again, refused_);
  for (auto &item : again) {
    report_event("retried", item.first);
    add(item.second.request, std::move(item.second.netns));
  }
  say_if_ready();
}

void ZdsClient::say_if_ready() {
  const bool ready = synced_ && refused_.empty();
  if (ready && !ready_)
    report_event("ready");
  ready_ = ready;
}

size_t ZdsClient::drain(long long deadline_ms) {
  for (const auto &item : workloads_)
    item.second->stop_accepting();
  size_t left = 0;
  for (const auto &item : workloads_)
    left += item.second->connections()->wait_until_none(deadline_ms);
  return left;
}
