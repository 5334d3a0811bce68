// ztunnel as a client of the node agent: what it does with each message, and when it comes back.
#pragma once
#include "inpod_workload.h"
#include "zds_connection.h"
#include <map>
#include <set>

class ZdsClient {
public:
  ZdsClient(std::string socket_path, InPodWorkloadOptions prototype);

  // Serves until another thread calls stop(), and returns true; false after a protocol error, which ends ztunnel.
  bool run();
  void stop();
  // Closes all listeners, and waits for the connections to end. Returns how many sockets are left at the deadline.
  size_t drain(long long deadline_ms);

private:
  struct ProtocolError : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  struct RefusedAdd {
    ZdsRequest request;
    Descriptor netns;
  };
  enum class Event { message, retry, stop };

  std::unique_ptr<ZdsConnection> connect();
  void converse(ZdsConnection &connection);
  Event wait(int fd);
  std::string handle(ReceivedRequest &received);
  std::string add(const ZdsRequest &request, Descriptor netns);
  void keep(const ZdsRequest &request);
  void remove(const ZdsRequest &request);
  void snapshot();
  void start(const ZdsRequest &request, const Descriptor &netns);
  void drop(const std::string &uid);
  void retry_refused();
  void say_if_ready();

  const std::string path_;
  const InPodWorkloadOptions prototype_;
  Descriptor stopping_;
  std::map<std::string, std::unique_ptr<InPodWorkload>> workloads_;
  std::map<std::string, RefusedAdd> refused_;
  std::set<std::string> named_; // on this connection
  bool synced_ = false;
  bool ready_ = false;
  long long retry_at_ = 0; // 0: there is nothing to try again
};
