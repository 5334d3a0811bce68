// A storm of processes: vfork, exec, exit, COUNT times over; KEEP of them, evenly spread, stay until the end of
// standard input. Prints "done" when all have been made. Usage: storm COUNT KEEP LEAVE_PROGRAM STAY_PROGRAM
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what) {
  perror(what);
  return 1;
}

static void wait_for_end_of_input(void) {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0)
    ;
}

int main(int argc, char **argv) {
  if (argc != 5)
    return fprintf(stderr, "usage: %s COUNT KEEP LEAVE_PROGRAM STAY_PROGRAM\n", argv[0]), 2;
  const long count = atol(argv[1]), keep = atol(argv[2]);
  const long every = keep > 0 ? count / keep : count + 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (long i = 1; i <= count; i++) {
    const int stays = i % every == 0;
    const pid_t child = vfork();
    if (child < 0)
      return fail("vfork");
    if (child == 0) {
      const char *program = argv[stays ? 4 : 3];
      execl(program, program, (char *)NULL);
      _exit(127);
    }
    if (!stays && waitpid(child, NULL, 0) < 0)
      return fail("waitpid");
  }
  puts("done");
  wait_for_end_of_input();
  while (wait(NULL) > 0)
    ;
  return 0;
}
