// Processes whose threads end in unusual orders. Usage: threads MODE; each line of standard input starts the next step
// and is answered by a line.
//   leader-exits   the first thread ends, then the last one
//   thread-execs   a thread that is not the first calls exec; the new program waits for one more line
//   many           a hundred threads come and go, then the process ends
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void say(const char *line) {
  if (write(STDOUT_FILENO, line, strlen(line)) < 0)
    _exit(1);
}

static void await_line(void) {
  char byte = 0;
  while (byte != '\n' && read(STDIN_FILENO, &byte, 1) > 0)
    ;
}

static void *last_thread(void *unused) {
  await_line();
  say("ending\n");
  return unused;
}

static void *execs(void *program) {
  await_line();
  execl("/proc/self/exe", program, "wait", (char *)NULL);
  _exit(127);
}

static void *nothing(void *unused) {
  return unused;
}

int main(int argc, char **argv) {
  const char *mode = argc == 2 ? argv[1] : "";
  pthread_t thread;
  if (strcmp(mode, "leader-exits") == 0) {
    await_line();
    pthread_create(&thread, NULL, last_thread, NULL);
    say("leaving\n");
    pthread_exit(NULL);
  }
  if (strcmp(mode, "thread-execs") == 0) {
    pthread_create(&thread, NULL, execs, argv[0]);
    say("ready\n");
    pthread_join(thread, NULL);
  }
  if (strcmp(mode, "wait") == 0) {
    say("execed\n");
    await_line();
    return 0;
  }
  if (strcmp(mode, "many") == 0) {
    for (int i = 0; i < 100; i++) {
      pthread_create(&thread, NULL, nothing, NULL);
      pthread_join(thread, NULL);
    }
    say("joined\n");
    await_line();
    return 0;
  }
  return 2;
}
