// peer pause: the sandbox of a pod. It sleeps until SIGTERM, and reaps, as the first process of a pid namespace must.
#include "commands.h"
#include <csignal>
#include <cstdio>
#include <sys/wait.h>

int run_pause(int, char **) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGCHLD);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  puts("ready");
  fflush(stdout);
  for (;;) {
    int number = 0;
    if (sigwait(&wanted, &number) != 0 || number != SIGCHLD)
      return 0;
    while (waitpid(-1, nullptr, WNOHANG) > 0)
      ;
  }
}
