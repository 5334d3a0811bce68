// The program that a storm execs: it does nothing, as fast as possible. It has no C library, whose start-up takes a
// millisecond on a virtual machine (every CPUID traps). With STAY defined it stays until the end of standard input.
#include <sys/syscall.h>

static long call(long number, long first, long second, long third) {
#if defined(__x86_64__)
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(first), "S"(second), "d"(third)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x1 __asm__("x1") = second,
                   x2 __asm__("x2") = third;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
#else
#error "write the system call of this architecture here"
#endif
}

__attribute__((noreturn)) void _start(void) {
#ifdef STAY
  char byte;
  while (call(SYS_read, 0, (long)&byte, 1) > 0)
    ;
#endif
  for (;;)
    call(SYS_exit_group, 0, 0, 0);
}
