// See ztunnel_connection.h.
#include "ztunnel_connection.h"
#include "json.h"
#include "original_destination.h"
#include "relay.h"
#include "report.h"
#include "ztunnel_sockets.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <unistd.h>

namespace {
bool same_ip(Address a, Address b) {
  a.set_port(0);
  b.set_port(0);
  return to_text(unmapped(a)) == to_text(unmapped(b));
}

std::string refusal(const std::string &why, const std::string &detail) {
  return JsonLine().text("error", why).text("detail", detail).str() + "\n";
}

// ztunnel never asks for the original destination on its HBONE port: the peer dialled that port itself (inbound.rs).
OriginalDestination destination_of(int client, uint16_t port) {
  return port == HBONE_PORT ? OriginalDestination{unmapped(local_address(client)), "local"}
                            : original_destination(client);
}

std::string describe(int client, uint16_t port, const OriginalDestination &wanted, const ZtunnelService &service) {
  JsonLine line;
  line.text("by", service.name)
      .number("port", port)
      .text("peer", to_text(unmapped(peer_address(client))))
      .text("local", to_text(unmapped(local_address(client))))
      .text("originalDst", to_text(wanted.address))
      .text("originalDstFrom", wanted.from);
  if (!service.pod.empty())
    line.text("pod", service.pod);
  return line.str();
}

// Inbound, ztunnel refuses its own ports at any address (inbound_passthrough.rs). Outbound it does so only on loopback
// (outbound.rs); to the pod's own address it would go on by HBONE, to itself, and be refused there. In plain text
// nothing would ever refuse it, so it ends here, as for a ztunnel that listens in its own pod. (The connection's local
// address does not say what is the pod's own: where nobody changed the destination it is the destination.)
bool is_self_call(int client, const Address &to, uint16_t port, const ZtunnelService &service) {
  if (std::find(service.ports.begin(), service.ports.end(), to.port()) == service.ports.end())
    return false;
  return service.pod.empty() || port == INBOUND_PORT || to.is_loopback() || is_own_address(to) ||
         same_ip(to, peer_address(client));
}

// Outbound connections leave from the pod's address; inbound ones keep the client's address, unless it is the
// destination's own (proxy.rs).
std::optional<Address> source_for(int client, uint16_t port, const Address &to, const ZtunnelService &service) {
  const Address peer = unmapped(peer_address(client));
  if (!service.original_source || port != INBOUND_PORT || same_ip(peer, to))
    return std::nullopt;
  return peer;
}

void attend(const Descriptor &client, uint16_t port, const ZtunnelService &service) {
  const OriginalDestination wanted = destination_of(client.get(), port);
  const std::string line = describe(client.get(), port, wanted, service);
  if (service.log)
    report(line);
  send_all(client.get(), line + "\n");
  if (port == HBONE_PORT)
    return finish(client.get());
  if (is_self_call(client.get(), wanted.address, port, service)) {
    send_all(client.get(), refusal("self-call", to_text(wanted.address)));
    return finish(client.get());
  }
  const Descriptor server = ztunnel_dial(wanted.address, source_for(client.get(), port, wanted.address, service));
  if (server.get() < 0) {
    send_all(client.get(), refusal("dial", strerror(errno)));
    return finish(client.get());
  }
  const OpenConnection onward(*service.connections, server.get());
  relay(client.get(), server.get());
}
} // namespace

std::string ztunnel_line(int client, uint16_t port, const ZtunnelService &service) {
  return describe(client, port, destination_of(client, port), service);
}

void accept_waiting(int listener, uint16_t port, const std::shared_ptr<const ZtunnelService> &service) {
  for (;;) {
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) {
      // It is counted here and not in its thread, which may start after somebody has checked whether all have ended.
      auto open = std::make_unique<OpenConnection>(*service->connections, client);
      std::thread([client, port, service, open = std::move(open)]() mutable {
        const Descriptor owned(client);
        attend(owned, port, *service);
        open.reset();
      }).detach();
      continue;
    }
    if (errno == EMFILE || errno == ENFILE)
      usleep(1000); // wait for a connection to end instead of spinning
    else if (errno != EINTR && errno != ECONNABORTED)
      return;
  }
}
