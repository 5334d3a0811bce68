// See relay.h.
#include "relay.h"
#include "sockets.h"
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>

namespace {
enum class Turn { more, ended, broken };

// One turn of one direction. The end of the source is passed on.
Turn pump(int from, int to) {
  char buffer[16384];
  const ssize_t count = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0)
    return errno == EAGAIN || errno == EINTR ? Turn::more : Turn::broken;
  if (count == 0) {
    shutdown(to, SHUT_WR);
    return Turn::ended;
  }
  return send_all(to, {buffer, static_cast<size_t>(count)}) ? Turn::more : Turn::broken;
}
} // namespace

void relay(int client, int server) {
  bool up = true, down = true;
  while (up || down) {
    pollfd items[] = {{up ? client : -1, POLLIN, 0}, {down ? server : -1, POLLIN, 0}};
    if (poll(items, 2, -1) < 0) {
      if (errno == EINTR)
        continue;
      return;
    }
    const Turn above = items[0].revents != 0 ? pump(client, server) : Turn::more;
    const Turn below = items[1].revents != 0 ? pump(server, client) : Turn::more;
    // A reset on one side resets the other: the client of a dead application must not wait for ever.
    if (above == Turn::broken || below == Turn::broken) {
      set_reset_on_close(client);
      set_reset_on_close(server);
      return;
    }
    up = up && above == Turn::more;
    down = down && below == Turn::more;
  }
}

void finish(int client) {
  shutdown(client, SHUT_WR);
  char scratch[4096];
  while (wait_for(client, POLLIN, now_ms() + PATIENCE_MS) && recv(client, scratch, sizeof scratch, 0) > 0)
    ;
}
