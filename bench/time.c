/* Times commands as whole processes, in turn (A B C A B C ...), so that a machine whose speed drifts is
 * the same for all of them.
 *   time RUNS CALLERS INPUT -- COMMAND... [-- COMMAND...]...
 * Each command runs RUNS times with INPUT on standard input and nothing kept of its output; CALLERS at
 * once, where a round is RUNS runs of one command. RUNS `once` is a single run, with none before it to warm
 * up. A command may begin with `@ FOLDER`, which becomes its
 * PICORELAY_CONTROL. Prints one JSON array: per command the milliseconds
 * of each run (one caller) or of the whole round, the processor's milliseconds and the peak in KB. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static const char *input;

static void start(char **command) {
  if (fork() != 0) return;
  int in = open(input, O_RDONLY), out = open("/dev/null", O_WRONLY);
  dup2(in, 0);
  dup2(out, 1);
  if (strcmp(command[0], "@") == 0) {
    setenv("PICORELAY_CONTROL", command[1], 1);
    command += 2;
  } else {
    unsetenv("PICORELAY_CONTROL");
  }
  execv(command[0], command);
  _exit(127);
}

/* Waits for one child; its processor time in milliseconds, its peak in *peak. */
static double reap(long *peak) {
  struct rusage use;
  int status;
  if (wait4(-1, &status, 0, &use) < 0 || status != 0) {
    fprintf(stderr, "a command ended with status %x\n", status);
    exit(1);
  }
  if (use.ru_maxrss > *peak) *peak = use.ru_maxrss;
  return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
         (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e3;
}

int main(int argc, char **argv) {
  if (argc < 6) return 64;
  int warm = strcmp(argv[1], "once") != 0, runs = warm ? atoi(argv[1]) : 1, callers = atoi(argv[2]), count = 0;
  char **commands[32];
  input = argv[3];
  for (int i = 4; i < argc && count < 32; i++) {
    if (strcmp(argv[i], "--") != 0) continue;
    argv[i] = NULL;
    commands[count++] = argv + i + 1;
  }
  double *wall = calloc(count * runs, sizeof *wall), *cpu = calloc(count * runs, sizeof *cpu);
  long peaks[32] = {0};
  if (callers > 1) {
    for (int c = 0; c < count; c++) {
      double begin = now();
      for (int started = 0, ended = 0; ended < runs; ended++) {
        while (started < runs && started - ended < callers) start(commands[c]), started++;
        cpu[c * runs + ended] = reap(&peaks[c]);
      }
      wall[c * runs] = now() - begin;
    }
  } else {
    for (int run = -warm; run < runs; run++) { /* the first one warms up */
      for (int c = 0; c < count; c++) {
        double begin = now();
        start(commands[c]);
        double used = reap(&peaks[c]);
        if (run >= 0) wall[c * runs + run] = now() - begin, cpu[c * runs + run] = used;
      }
    }
  }
  printf("[");
  for (int c = 0; c < count; c++) {
    printf("%s{\"peak\":%ld,\"wall\":[", c ? "," : "", peaks[c]);
    for (int i = 0; i < (callers > 1 ? 1 : runs); i++) printf("%s%.3f", i ? "," : "", wall[c * runs + i]);
    printf("],\"cpu\":[");
    for (int i = 0; i < runs; i++) printf("%s%.3f", i ? "," : "", cpu[c * runs + i]);
    printf("]}");
  }
  puts("]");
  return 0;
}
