// peer bpf-stats: while it runs, the kernel counts the runs of every BPF program and their time (BPF_ENABLE_STATS); its
// end, whatever the reason is, ends that. /proc/<pid>/fdinfo of a program has the numbers.
#include "commands.h"
#include "options.h"
#include "report.h"
#include "sockets.h"
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

int run_bpf_stats(int argc, char **argv) {
  const Options options(argc, argv, {});
  bpf_attr attributes{};
  attributes.enable_stats.type = BPF_STATS_RUN_TIME;
  const Descriptor counting(static_cast<int>(syscall(SYS_bpf, BPF_ENABLE_STATS, &attributes, sizeof attributes)));
  if (!counting.valid())
    fail("BPF_ENABLE_STATS");
  report("ready");
  for (;;)
    pause();
}
