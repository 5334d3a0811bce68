// peer: the program that runs in the testbed's pods. It is static, so that it works in an empty root file system.
#include "commands.h"
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <unistd.h>

namespace {
struct Command {
  const char *name;
  int (*run)(int, char **);
  const char *usage;
};

const Command commands[] = {
    {"pause", run_pause, "pause"},
    {"serve", run_serve, "serve --name N --port P[,P..] [--bind IP] [--echo] [--no-reuse-address]"},
    {"ztunnel", run_ztunnel,
     "ztunnel [--name N] [--ports 15001,15006,15008] [--answer [--echo] [--processes N]] [--log] | ztunnel --zds "
     "SOCKET [--name N] "
     "[--no-original-source] [--no-dns] [--drain-ms MS]"},
    {"dns", run_dns, "dns --name N --answer4 IP --answer6 IP --at IP:PORT.."},
    {"resolve", run_resolve,
     "resolve --server IP:PORT.. [--name NAME] [--type A|AAAA] [--tcp | --connected] [--timeout MS]"},
    {"stream", run_stream, "stream --to IP:PORT [--interval MS]; standard input: wait N, stop"},
    {"dial", run_dial,
     "dial --stdin | --to IP:PORT [--method M] [--bind IP:PORT] [--second IP:PORT] [--beside IP:PORT] [--device D] "
     "[--mark N] [--timeout MS] [--count N] | --to .. --source-ports LO-HI --count N | --to .. --load [--duration MS] "
     "[--pause MS]; a load's "
     "standard input: wait N"},
    {"at-once", run_at_once, "at-once --to IP:PORT.. [--pause MS] [--timeout MS] [--successes N]"},
    {"usurp", run_usurp, "usurp --ip IP.. [--after MS]; standard input as with dial --stdin"},
    {"make-directories", run_make_directories, "make-directories; standard input: PATH"},
    {"crowd", run_crowd, "crowd --to IP:PORT.. [--count N]; standard input: echo"},
    {"measure", run_measure, "measure; standard input: connect IP:PORT N, trip IP:PORT N"},
    {"bpf-stats", run_bpf_stats, "bpf-stats"},
    {"memberships", run_memberships, "memberships [--length N]"},
    {"enter", run_enter,
     "enter [--die-with-parent] [--cgroup DIR].. [--new-netns | --netns PATH] [--sysctl K=V].. [--mount-private] "
     "[--cgroup2-at DIR] -- PROGRAM .."},
};

int usage() {
  for (const Command &command : commands)
    fprintf(stderr, "peer %s\n", command.usage);
  return 2;
}
} // namespace

int main(int argc, char **argv) {
  if (argc < 2)
    return usage();
  for (const Command &command : commands) {
    if (strcmp(argv[1], command.name) != 0)
      continue;
    // The first process of a pid namespace ignores signals for which it has no handler.
    signal(SIGTERM, [](int) { _exit(0); });
    signal(SIGINT, [](int) { _exit(0); });
    try {
      return command.run(argc - 2, argv + 2);
    } catch (const std::exception &error) {
      fprintf(stderr, "peer %s: %s\n", command.name, error.what());
      return 1;
    }
  }
  return usage();
}
