// peer enter: starts a program where a pod's process would be: in the pod's cgroup and netns, with its own mounts.
#include "commands.h"
#include "options.h"
#include "sockets.h"
#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {
void join_cgroup(const std::string &directory) {
  const Descriptor file(open((directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0)
    fail("open " + directory + "/cgroup.procs");
  if (write(file.get(), "0", 1) != 1) // 0 is the writer itself (Documentation/admin-guide/cgroup-v2.rst)
    fail("join cgroup " + directory);
}

void join_netns(const std::string &path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    fail("open " + path);
  if (setns(file.get(), CLONE_NEWNET) != 0)
    fail("setns " + path);
}

void leave_netns() {
  if (unshare(CLONE_NEWNET) != 0)
    fail("unshare the network namespace");
}

// "net.ipv4.ip_forward=1"; /proc/sys/net shows the caller's own netns.
void set_sysctl(const std::string &assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos)
    throw std::runtime_error("--sysctl wants key=value, not '" + assignment + "'");
  std::string path = "/proc/sys/" + assignment.substr(0, equals);
  std::replace(path.begin() + sizeof "/proc/sys", path.end(), '.', '/');
  const std::string value = assignment.substr(equals + 1);
  const Descriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0 || write(file.get(), value.data(), value.size()) < 0)
    fail("set " + assignment);
}

void leave_mounts() {
  if (unshare(CLONE_NEWNS) != 0)
    fail("unshare the mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    fail("make mounts private");
}

// Makes a hybrid machine look like one that has only cgroup2.
void mount_cgroup2(const std::string &directory) {
  umount2(directory.c_str(), MNT_DETACH); // also removes what is mounted below it; it is fine if nothing is mounted
  if (mount("none", directory.c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    fail("mount cgroup2 at " + directory);
}
} // namespace

int run_enter(int argc, char **argv) {
  const Options options(argc, argv, {"mount-private", "new-netns", "die-with-parent"});
  std::vector<char *> program = options.rest();
  if (program.empty())
    throw std::runtime_error("no program behind --");
  if (options.has("die-with-parent"))
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const std::string &directory : options.all("cgroup"))
    join_cgroup(directory);
  if (options.has("new-netns"))
    leave_netns();
  if (options.has("netns"))
    join_netns(options.get("netns"));
  for (const std::string &assignment : options.all("sysctl"))
    set_sysctl(assignment);
  if (options.has("mount-private") || options.has("cgroup2-at"))
    leave_mounts();
  if (options.has("cgroup2-at"))
    mount_cgroup2(options.get("cgroup2-at"));
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  program.push_back(nullptr);
  execvp(program[0], program.data());
  fail(std::string("exec ") + program[0]);
}
