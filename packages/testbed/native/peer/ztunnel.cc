// peer ztunnel: a stand-in for ztunnel. Its listeners have ztunnel's options. It tells each client which original
// destination it read, and then relays in plain text, so that the client also hears the application. With --zds it
// listens where the node agent says, as ztunnel does since 1.23; without, in the netns that it is in.
#include "answering.h"
#include "commands.h"
#include "json.h"
#include "open_files.h"
#include "options.h"
#include "report.h"
#include "zds_client.h"
#include "ztunnel_sockets.h"
#include <csignal>
#include <poll.h>
#include <unistd.h>

namespace {
constexpr long DRAIN_MS = 5000;

// Its own line is all that a client gets, and with --echo whatever it sends.
[[noreturn]] void answer(const Options &options, const ZtunnelService &service) {
  const bool echo = options.has("echo");
  Answering answering(
      [&service, echo](int client, uint16_t port) {
        const std::string line = ztunnel_line(client, port, service);
        if (service.log)
          report(line);
        return echo ? line.substr(0, line.size() - 1) + ",\"echo\":true}" : line;
      },
      echo);
  for (const uint16_t port : service.ports)
    answering.add(ztunnel_listener(parse_ip("::", port), true), port);
  answering.run(options.number("processes", 1));
}

int run_in_own_netns(const Options &options) {
  ZtunnelService service;
  service.name = options.get("name", "ztunnel");
  service.ports = parse_ports(options.get("ports", "15001,15006,15008"));
  service.log = options.has("log");
  if (options.has("answer"))
    answer(options, service);
  const auto shared = std::make_shared<const ZtunnelService>(service);
  std::vector<Descriptor> listeners;
  std::vector<pollfd> items;
  for (const uint16_t port : service.ports) {
    listeners.push_back(ztunnel_listener(parse_ip("::", port), true));
    items.push_back({listeners.back().get(), POLLIN, 0});
  }
  report("ready");
  for (;;) {
    if (poll(items.data(), items.size(), -1) < 0)
      continue;
    for (size_t i = 0; i < items.size(); i++)
      if (items[i].revents != 0)
        accept_waiting(items[i].fd, service.ports[i], shared);
  }
}

int run_in_pods(const Options &options) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr); // for every thread; this one takes the signals
  allow_many_open_files();
  InPodWorkloadOptions prototype;
  prototype.service.name = options.get("name", "ztunnel");
  prototype.service.ports = {OUTBOUND_PORT, INBOUND_PORT, HBONE_PORT};
  prototype.service.log = true;
  prototype.service.original_source = !options.has("no-original-source");
  prototype.dns = !options.has("no-dns");
  ZdsClient client(options.get("zds"), prototype);
  std::thread conversation([&client] {
    if (!client.run())
      _exit(1);
  });
  report("ready");
  int number = 0;
  sigwait(&ends, &number);
  client.stop();
  conversation.join();
  report(JsonLine().text("event", "draining").str());
  const size_t left = client.drain(now_ms() + options.number("drain-ms", DRAIN_MS));
  report(JsonLine().text("event", "drained").number("left", static_cast<long long>(left)).str());
  _exit(0); // threads that are left end with the process
}
} // namespace

int run_ztunnel(int argc, char **argv) {
  const Options options(argc, argv, {"answer", "echo", "log", "no-original-source", "no-dns"});
  return options.has("zds") ? run_in_pods(options) : run_in_own_netns(options);
}
