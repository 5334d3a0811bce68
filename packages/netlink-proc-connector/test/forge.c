// Sends a forged "exit" event to one netlink port, as any root process can: usage forge PORT PID
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  if (argc != 3)
    return fprintf(stderr, "usage: %s PORT PID\n", argv[0]), 2;
  char bytes[NLMSG_SPACE(sizeof(struct cn_msg) + sizeof(struct proc_event))] = {0};
  struct nlmsghdr *header = (struct nlmsghdr *)bytes;
  header->nlmsg_len = NLMSG_LENGTH(sizeof(struct cn_msg) + sizeof(struct proc_event));
  header->nlmsg_type = NLMSG_DONE;
  struct cn_msg *message = NLMSG_DATA(header);
  message->id.idx = CN_IDX_PROC;
  message->id.val = CN_VAL_PROC;
  message->len = sizeof(struct proc_event);
  struct proc_event event = {0};
  event.what = PROC_EVENT_EXIT;
  event.event_data.exit.process_pid = event.event_data.exit.process_tgid = atoi(argv[2]);
  memcpy(message->data, &event, sizeof event);
  int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);
  struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = (unsigned)strtoul(argv[1], NULL, 10)};
  if (fd < 0 || sendto(fd, bytes, header->nlmsg_len, 0, (struct sockaddr *)&to, sizeof to) < 0)
    return perror("forge"), 1;
  return 0;
}
