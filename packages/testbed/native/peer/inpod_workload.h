// What ztunnel has in the network namespace of one workload: its listeners, and a thread inside it.
#pragma once
#include "dns_service.h"
#include "ztunnel_connection.h"
#include <sys/stat.h>
#include <thread>

struct InPodWorkloadOptions {
  ZtunnelService service;
  bool dns = true;
};

class InPodWorkload {
public:
  // Opens the listeners in the namespace. Throws std::runtime_error if it is no namespace or a listener cannot be
  // opened.
  InPodWorkload(InPodWorkloadOptions options, const Descriptor &netns);
  InPodWorkload(const InPodWorkload &) = delete;
  InPodWorkload &operator=(const InPodWorkload &) = delete;
  // Stops accepting.
  ~InPodWorkload();

  bool is_in(const Descriptor &netns) const;
  ino_t netns_inode() const { return identity_.st_ino; }
  // Takes the connections that the kernel has accepted, and closes the listeners: the connections go on. Idempotent.
  void stop_accepting();
  const std::shared_ptr<OpenConnections> &connections() const { return options_.service.connections; }

private:
  const InPodWorkloadOptions options_;
  struct stat identity_ {};
  Descriptor stopping_;
  std::thread thread_;
};
