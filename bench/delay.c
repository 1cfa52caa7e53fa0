/* Stands between a client and a relay and holds all octets for a while in each direction, as a long line
 * does. It adds no loss and no limit of rate, and connections are taken at once.
 *   delay MILLISECONDS PORT       of a round trip; the relay's port on this machine
 * Prints its own port. Ends with standard input. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct piece {
  struct piece *next;
  long due;
  int length, sent; /* no length: the end */
  char bytes[];
};

/* One direction of a connection. */
struct way {
  int from, to;
  struct piece *first, **last;
  struct way *back;  /* the other direction */
  struct way *later; /* all of them are in one list */
  int ended, gone;
};

static struct way *all;

static long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static struct way *make(int from, int to) {
  struct way *way = calloc(1, sizeof *way);
  way->from = from, way->to = to, way->last = &way->first, way->later = all;
  all = way;
  return way;
}

static void take(struct way *way, int poll, long delay) {
  static char buffer[1 << 17];
  long got = read(way->from, buffer, sizeof buffer);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    epoll_ctl(poll, EPOLL_CTL_DEL, way->from, NULL);
    got = 0, way->ended = 1;
  }
  struct piece *piece = malloc(sizeof *piece + got);
  piece->next = NULL, piece->due = now() + delay, piece->length = got, piece->sent = 0;
  memcpy(piece->bytes, buffer, got);
  *way->last = piece, way->last = &piece->next;
}

/* Sends what is due; when the next piece is, or 0. */
static long give(struct way *way) {
  while (way->first != NULL) {
    struct piece *piece = way->first;
    if (piece->due > now()) return piece->due;
    if (piece->length == 0) {
      shutdown(way->to, SHUT_WR);
      way->gone = 1;
    } else {
      long sent = send(way->to, piece->bytes + piece->sent, piece->length - piece->sent, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return now() + 1000000;
      if (sent > 0 && (piece->sent += sent) < piece->length) continue;
    }
    if ((way->first = piece->next) == NULL) way->last = &way->first;
    free(piece);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  long delay = (long)(atof(argv[1]) * 1e6 / 2);
  struct sockaddr_in relay = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, own = relay;
  relay.sin_port = htons(atoi(argv[2]));
  socklen_t length = sizeof own;
  int server = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), one = 1;
  if (bind(server, (void *)&own, length) != 0 || listen(server, 1024) != 0) return 71;
  getsockname(server, (void *)&own, &length);
  printf("%d\n", ntohs(own.sin_port));
  fflush(stdout);
  struct way listener = {.from = server}, input = {.from = 0};
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[64];
  epoll_ctl(poll, EPOLL_CTL_ADD, server, &event);
  event.data.ptr = &input;
  epoll_ctl(poll, EPOLL_CTL_ADD, 0, &event);
  for (long due = 0;;) {
    long wait = due == 0 ? 0 : due - now();
    if (wait < 0) wait = 0;
    struct timespec limit = {wait / 1000000000L, wait % 1000000000L};
    int count = epoll_pwait2(poll, events, 64, due == 0 ? NULL : &limit, NULL);
    for (int e = 0; e < count; e++) {
      struct way *way = events[e].data.ptr;
      if (way == &input) return 0;
      if (way != &listener) {
        take(way, poll, delay);
        continue;
      }
      int client = accept4(server, NULL, NULL, SOCK_NONBLOCK), onward = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(onward, (void *)&relay, sizeof relay) != 0) return 71;
      fcntl(onward, F_SETFL, O_NONBLOCK);
      setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      setsockopt(onward, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      struct way *out = make(client, onward), *back = make(onward, client);
      out->back = back, back->back = out;
      event.data.ptr = out;
      epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
      event.data.ptr = back;
      epoll_ctl(poll, EPOLL_CTL_ADD, onward, &event);
    }
    due = 0;
    for (struct way **at = &all; *at != NULL;) {
      struct way *way = *at;
      long next = give(way);
      if (next != 0 && (due == 0 || next < due)) due = next;
      if (way->gone && way->back == NULL) {
        *at = way->later;
        close(way->from);
        free(way);
      } else {
        if (way->gone && way->back != NULL && way->back->gone) way->back->back = NULL, way->back = NULL;
        else at = &way->later;
      }
    }
  }
}
