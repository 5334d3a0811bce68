// peer enter: puts a program where a pod's process would be: in its cgroup, its netns, its own mounts.
#include "commands.h"
#include "options.h"
#include "sockets.h"
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <unistd.h>

namespace {
void join_cgroup(const std::string &directory) {
  const Fd file(open((directory + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0)
    fail("open " + directory + "/cgroup.procs");
  if (write(file.get(), "0", 1) != 1) // 0 is the writer itself (Documentation/admin-guide/cgroup-v2.rst)
    fail("join cgroup " + directory);
}

void join_netns(const std::string &path) {
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0)
    fail("open " + path);
  if (setns(file.get(), CLONE_NEWNET) != 0)
    fail("setns " + path);
}

void leave_mounts() {
  if (unshare(CLONE_NEWNS) != 0)
    fail("unshare the mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    fail("make mounts private");
}

// On a hybrid machine this is what a machine with cgroup2 alone looks like.
void mount_cgroup2(const std::string &directory) {
  umount2(directory.c_str(), MNT_DETACH); // takes what is mounted below it along; nothing there is fine too
  if (mount("none", directory.c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    fail("mount cgroup2 at " + directory);
}
} // namespace

int run_enter(int argc, char **argv) {
  const Options options(argc, argv, {"mount-private"});
  std::vector<char *> program = options.rest();
  if (program.empty())
    throw std::runtime_error("no program behind --");
  for (const std::string &directory : options.all("cgroup"))
    join_cgroup(directory);
  if (options.has("netns"))
    join_netns(options.get("netns"));
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
