/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A process that makes directories, binds, listens and dials one step at a time: one command a line on its standard
 * input, and one line back, which begins with "ok" or is the name of an errno. What it listens for it accepts at once,
 * and answers with the socket's number. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKETS 64
#define WORDS   16
/* A refusal comes at once; so long waits only who is not answered at all. */
#define PATIENCE_MS 5000

static int sockets[SOCKETS];
static int count;
/* poll(2) reports one that neither listens nor is connected at once and for ever, so only these are waited for. */
static struct pollfd listeners[SOCKETS + 1];
static nfds_t listening = 1;
/* Whether what is accepted stays open, as a socket with a number. */
static bool keeps;

static const char *error_name(int error) {
  const char *name = strerrorname_np(error);
  return name ? name : "unknown";
}

static void answer(int failed) {
  puts(failed ? error_name(errno) : "ok");
}

static socklen_t address_of(const char *ip, const char *port, struct sockaddr_storage *address) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
  memset(address, 0, sizeof *address);
  if (strchr(ip, ':')) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)atoi(port));
    inet_pton(AF_INET6, ip, &v6->sin6_addr);
    if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
      v6->sin6_scope_id = if_nametoindex("eth0");
    return sizeof *v6;
  }
  v4->sin_family = AF_INET;
  v4->sin_port = htons((uint16_t)atoi(port));
  inet_pton(AF_INET, ip, &v4->sin_addr);
  return sizeof *v4;
}

/* socket IP: a number for the commands below. */
static void make_socket(const char *ip, int protocol) {
  const int fd = socket(strchr(ip, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol);
  if (fd < 0) {
    answer(1);
    return;
  }
  sockets[count] = fd;
  printf("ok %d\n", count++);
}

static void set_option(int fd, const char *option, const char *value) {
  const int on = 1;
  if (!strcmp(option, "reuseport"))
    answer(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
  else if (!strcmp(option, "v6only"))
    answer(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
  else if (!strcmp(option, "ifindex"))
    answer(setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &(int){(int)if_nametoindex(value)}, sizeof(int)));
  else
    answer(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, value, (socklen_t)strlen(value) + 1));
}

static void bind_socket(int fd, const char *ip, const char *port) {
  struct sockaddr_storage address;
  const socklen_t length = address_of(ip, port, &address);
  answer(bind(fd, (struct sockaddr *)&address, length));
}

static void connect_socket(int fd, const char *ip, const char *port) {
  struct sockaddr_storage address;
  const socklen_t length = address_of(ip, port, &address);
  answer(connect(fd, (struct sockaddr *)&address, length));
}

/* Does not wait for an answer. */
static void begin(int fd, const char *ip, const char *port) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  connect_socket(fd, ip, port);
}

static void send_text(int fd, const char *text) {
  answer(send(fd, text, strlen(text), MSG_NOSIGNAL) < 0);
}

/* Of a connected socket, which is as if it were new afterwards. */
static void disconnect(int fd) {
  answer(connect(fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr)));
}

static void listen_on(int fd) {
  const int failed = listen(fd, 16);
  bool is_new = !failed;
  for (nfds_t i = 1; i < listening; i++)
    is_new = is_new && listeners[i].fd != fd;
  if (is_new)
    listeners[listening++] = (struct pollfd){.fd = fd, .events = POLLIN};
  answer(failed);
}

static void show_device(int fd) {
  char name[IF_NAMESIZE] = "";
  socklen_t length = sizeof name;
  if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length) != 0)
    answer(1);
  else
    printf("ok %s\n", length == 0 ? "" : name);
}

static void show_port(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
    answer(1);
  else /* Both families have it at the same place. */
    printf("ok %d\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
}

static void dial(const char *ip, const char *port) {
  struct sockaddr_storage address;
  const socklen_t length = address_of(ip, port, &address);
  const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  char text[32] = "";
  socklen_t size = sizeof(int);
  int error = connect(fd, (struct sockaddr *)&address, length) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    error = ETIMEDOUT;
    if (poll(&ready, 1, PATIENCE_MS) == 1)
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  ready.events = POLLIN;
  if (!error && poll(&ready, 1, PATIENCE_MS) != 1)
    error = ETIMEDOUT;
  if (!error && read(fd, text, sizeof text - 1) < 0)
    error = errno;
  if (error)
    puts(error_name(error));
  else
    printf("ok %s\n", text);
  close(fd);
}

static void make_in(const char *directory, const char *name) {
  const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  answer(fd < 0 || mkdirat(fd, name, 0755));
  close(fd);
}

static void run(char *line) {
  char *words[WORDS] = {0};
  int length = 0;
  for (char *word = strtok(line, " \n"); word && length < WORDS - 1; word = strtok(NULL, " \n"))
    words[length++] = word;
  const char *command = words[0] ? words[0] : "";
  const int fd = words[1] ? sockets[atoi(words[1]) % SOCKETS] : -1;
  if (!strcmp(command, "mkdirat"))
    answer(mkdirat(AT_FDCWD, words[1], 0755));
  else if (!strcmp(command, "mkdir"))
    answer(mkdir(words[1], 0755));
  else if (!strcmp(command, "mkdirat-in"))
    make_in(words[1], words[2]);
  else if (!strcmp(command, "setuid"))
    answer(setuid((uid_t)atoi(words[1])));
  else if (!strcmp(command, "socket"))
    make_socket(words[1], words[2] && !strcmp(words[2], "mptcp") ? IPPROTO_MPTCP : 0);
  else if (!strcmp(command, "set"))
    set_option(fd, words[2], words[3]);
  else if (!strcmp(command, "bind"))
    bind_socket(fd, words[2], words[3]);
  else if (!strcmp(command, "listen"))
    listen_on(fd);
  else if (!strcmp(command, "keep"))
    answer(!(keeps = true));
  else if (!strcmp(command, "connect"))
    connect_socket(fd, words[2], words[3]);
  else if (!strcmp(command, "begin"))
    begin(fd, words[2], words[3]);
  else if (!strcmp(command, "send"))
    send_text(fd, words[2]);
  else if (!strcmp(command, "disconnect"))
    disconnect(fd);
  else if (!strcmp(command, "device"))
    show_device(fd);
  else if (!strcmp(command, "port"))
    show_port(fd);
  else if (!strcmp(command, "dial"))
    dial(words[1], words[2]);
  else
    puts("unknown command");
}

static int number_of(int fd) {
  for (int i = 0; i < count; i++)
    if (sockets[i] == fd)
      return i;
  return -1;
}

int main(void) {
  char line[8192];
  setvbuf(stdout, NULL, _IOLBF, 0);
  setvbuf(stdin, NULL, _IONBF, 0);
  puts("ready");
  listeners[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
  while (poll(listeners, listening, -1) >= 0) {
    for (nfds_t i = 1; i < listening; i++) {
      const int fd = listeners[i].revents ? accept4(listeners[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;
      if (fd < 0)
        continue;
      dprintf(fd, "%d", number_of(listeners[i].fd));
      if (keeps)
        sockets[count++] = fd;
      else
        close(fd);
    }
    if (!listeners[0].revents)
      continue;
    if (!fgets(line, sizeof line, stdin))
      return 0;
    run(line);
  }
  return 1;
}
