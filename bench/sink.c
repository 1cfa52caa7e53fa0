/* A relay that takes everything as fast as it comes, so that the client is what is measured.
 *   sink [-c] [-p]        -c: offers CHUNKING; -p: offers no PIPELINING
 * Prints its port. For each line on standard input it prints what came since the line before:
 *   MESSAGES OCTETS CONNECTIONS FIRST LAST
 * the times of the first connection and of the last message in nanoseconds of CLOCK_MONOTONIC. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
  int fd;
  char line[2048]; /* the command that is not whole yet */
  int length;
  int state;       /* 0: commands; 1: data; 2: a chunk */
  int dot;         /* how much of CRLF . CRLF has come */
  long left;       /* octets of the chunk */
};

static long messages, octets, connections, first, last;

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static const char *offers = "";

/* Takes what has come; writes the answers into out and returns their length. */
static int feed(struct client *c, const char *in, long size, char *out) {
  static const char END[] = "\r\n.\r\n";
  int n = 0;
  long i = 0;
  octets += size;
  while (i < size) {
    if (c->state == 2) {
      long take = c->left < size - i ? c->left : size - i;
      i += take;
      c->left -= take;
      if (c->left > 0) break;
    } else if (c->state == 1) {
      for (; i < size && c->dot < 5; i++) {
        if (in[i] == END[c->dot]) c->dot++;
        else c->dot = in[i] == '\r' ? 1 : 0;
        if (c->dot == 0) {
          const char *next = memchr(in + i, '\r', size - i);
          i = next == NULL ? size - 1 : next - in - 1;
        }
      }
      if (c->dot < 5) break;
    }
    if (c->state != 0) {
      c->state = 0;
      messages++;
      last = now();
      n += sprintf(out + n, "250 ok\r\n");
      continue;
    }
    char octet = in[i++];
    if (c->length < (int)sizeof c->line - 1) c->line[c->length++] = octet;
    if (octet != '\n') continue;
    c->line[c->length] = 0;
    c->length = 0;
    if (strncasecmp(c->line, "EHLO", 4) == 0) n += sprintf(out + n, "250-bench.example\r\n%s250 8BITMIME\r\n", offers);
    else if (strncasecmp(c->line, "DATA", 4) == 0) c->state = 1, c->dot = 2, n += sprintf(out + n, "354 go on\r\n");
    else if (strncasecmp(c->line, "BDAT", 4) == 0) {
      c->state = 2, c->left = atol(c->line + 4);
    } else if (strncasecmp(c->line, "QUIT", 4) == 0) n += sprintf(out + n, "221 bye\r\n");
    else n += sprintf(out + n, "250 ok\r\n");
  }
  return n;
}

int main(int argc, char **argv) {
  int chunking = 0, pipelining = 1;
  for (int option; (option = getopt(argc, argv, "cp")) != -1;) {
    if (option == 'c') chunking = 1;
    else if (option == 'p') pipelining = 0;
    else return 64;
  }
  static char offered[64];
  sprintf(offered, "%s%s", pipelining ? "250-PIPELINING\r\n" : "", chunking ? "250-CHUNKING\r\n" : "");
  offers = offered;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int server = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), one = 1;
  if (bind(server, (void *)&address, length) != 0 || listen(server, 1024) != 0) return 71;
  getsockname(server, (void *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  struct client listener = {.fd = server}, input = {.fd = 0};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[64];
  epoll_ctl(poll, EPOLL_CTL_ADD, server, &event);
  event.data.ptr = &input;
  epoll_ctl(poll, EPOLL_CTL_ADD, 0, &event);
  static char in[1 << 17], out[1 << 20];
  for (;;) {
    int count = epoll_wait(poll, events, 64, -1);
    for (int e = 0; e < count; e++) {
      struct client *c = events[e].data.ptr;
      if (c == &input) {
        if (read(0, in, sizeof in) <= 0) return 0;
        printf("%ld %ld %ld %ld %ld\n", messages, octets, connections, first, last);
        fflush(stdout);
        messages = octets = connections = first = last = 0;
      } else if (c == &listener) {
        struct client *client = calloc(1, sizeof *client);
        client->fd = accept(server, NULL, NULL);
        setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connections++ == 0) first = now();
        event.data.ptr = client;
        epoll_ctl(poll, EPOLL_CTL_ADD, client->fd, &event);
        if (write(client->fd, "220 bench.example\r\n", 19) < 0) perror("sink");
      } else {
        long got = read(c->fd, in, sizeof in);
        int answers = got > 0 ? feed(c, in, got, out) : 0;
        if (answers > 0 && write(c->fd, out, answers) < 0) got = 0;
        if (got > 0) continue;
        close(c->fd);
        free(c);
      }
    }
  }
}
