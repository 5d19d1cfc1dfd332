/* Answers for the processor, without AVX-512, VNNI and AMX: see without_vnni.py.

   The libraries' cpuid instructions were replaced by ud2. Each raises SIGILL, and the handler puts
   the processor's answer, less the bits of those extensions, where cpuid would have put it. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

static struct sigaction before; /* what other illegal instructions get */

static void pass_on(int number, siginfo_t *info, void *context) {
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    signal(number, SIG_DFL); /* the instruction runs again, and ends the process */
  }
}

static void answer(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (code[0] != 0x0F || code[1] != 0x0B) {
    pass_on(number, info, context);
    return;
  }
  unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
  unsigned a, b, c, d;
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) {
    /* AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL */
    b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
    /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
    c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
    /* 4VNNIW, 4FMAPS, VP2INTERSECT, AMX bf16, AVX-512 fp16, AMX tiles, AMX int8 */
    d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
  } else if (leaf == 7 && part == 1) {
    /* AVX-VNNI, AVX-512 bf16, AMX fp16 */
    a &= ~(BIT(4) | BIT(5) | BIT(21));
    /* AVX-VNNI int8, AVX-NE-CONVERT, AVX-VNNI int16, AVX10 */
    d &= ~(BIT(4) | BIT(5) | BIT(10) | BIT(19));
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGILL, &action, &before) != 0) {
    perror("sigaction");
    abort();
  }
}

/* The system's file about the processor, which Python programs read. */
int open64(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (real == NULL) {
    real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    if (real == NULL) {
      errno = ENOSYS;
      return -1;
    }
  }
  va_list rest;
  va_start(rest, flags);
  unsigned mode = va_arg(rest, unsigned);
  va_end(rest);
  const char *other = getenv("WITHOUT_VNNI_CPUINFO");
  return real(other != NULL && strcmp(path, "/proc/cpuinfo") == 0 ? other : path, flags, mode);
}
