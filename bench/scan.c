/*
 * What `probe()` is measured against: a scanner with epoll, one attempt a port,
 * and nothing that is not needed to find what is open, closed or silent.
 *
 *   scan HOST HOSTS FIRST LAST CONCURRENCY TIMEOUT
 *
 * HOSTS addresses from HOST on, the ports FIRST to LAST of each, host after
 * host within a port. Prints the counts, the seconds, and the microseconds of
 * the processor for each probe.
 *
 *   cc -O2 -o scan scan.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct flight {
  double end;
  int fd;
  int next;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static long counts[3]; /* open, closed or rejected, silent */

static void end(int fd, int kind) {
  if (kind == 0) {
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  counts[kind]++;
  close(fd);
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  unsigned host = ntohl(inet_addr(argv[1]));
  long hosts = atol(argv[2]), first = atol(argv[3]), last = atol(argv[4]);
  long most = atol(argv[5]), timeout = atol(argv[6]);
  long total = hosts * (last - first + 1), begun = 0, pending = 0;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  /* All time out after the same time, so that the oldest is the first. */
  double *ends = calloc(1 << 20, sizeof *ends);
  int *ring = calloc(total, sizeof *ring);
  double *due = calloc(total, sizeof *due);
  long oldest = 0, newest = 0;
  int ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event events[256];
  double start = now();
  while (begun < total || pending > 0) {
    while (begun < total && pending < most) {
      struct sockaddr_in to = {.sin_family = AF_INET};
      to.sin_addr.s_addr = htonl(host + begun % hosts);
      to.sin_port = htons(first + begun / hosts);
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) break;
      begun++;
      if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        end(fd, 0);
        continue;
      }
      if (errno != EINPROGRESS) {
        end(fd, 1);
        continue;
      }
      struct epoll_event event = {EPOLLOUT | EPOLLONESHOT, {.fd = fd}};
      epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
      ends[fd] = due[newest] = now() + timeout;
      ring[newest++] = fd;
      pending++;
      if (begun % 64 == 0) break;
    }
    double wait = begun < total && pending < most ? 0
                  : oldest < newest              ? due[oldest] - now()
                                                 : 0;
    int n = epoll_wait(ep, events, 256, wait > 0 ? (int)wait + 1 : 0);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd, error = 0;
      socklen_t length = sizeof error;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
      ends[fd] = 0;
      end(fd, error == 0 && !(events[i].events & EPOLLERR) ? 0 : 1);
      pending--;
    }
    double t = now();
    for (; oldest < newest && due[oldest] <= t; oldest++) {
      int fd = ring[oldest];
      if (ends[fd] != due[oldest]) continue; /* answered, maybe used again */
      ends[fd] = 0;
      end(fd, 2);
      pending--;
    }
  }
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec * 1e6 + used.ru_utime.tv_usec +
               used.ru_stime.tv_sec * 1e6 + used.ru_stime.tv_usec;
  printf("{\"open\":%ld,\"closed\":%ld,\"filtered\":%ld,\"seconds\":%.3f,"
         "\"cpu\":%.1f,\"rss\":%.0f}\n",
         counts[0], counts[1], counts[2], (now() - start) / 1e3, cpu / total,
         used.ru_maxrss / 1e3);
  return 0;
}
