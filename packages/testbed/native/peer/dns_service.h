// A DNS server with one answer for every name, which shows a client which server it reached.
#pragma once
#include <memory>
#include <string>

struct DnsService {
  std::string name;
  std::string pod;      // uid of the workload in whose netns it listens; empty elsewhere
  std::string ip4, ip6; // the answers to A and AAAA
};

// Answers every datagram that waits at a non-blocking socket, and reports each.
void answer_waiting_datagrams(int socket, const DnsService &service);
// Accepts every connection that waits at a non-blocking listener, and serves each in a thread.
void accept_waiting_dns(int listener, const std::shared_ptr<const DnsService> &service);
