/*
 * What the package is measured against, and the peers that it is measured with.
 *
 *   floor listen DIR           the peer on this machine; `drain`
 *   floor client HOSTS PORT REFUSED DIR
 *                              the same work as the package's, in C;
 *                              `round KIND COUNT CONCURRENCY`, `rtt COUNT`
 *   floor late DEVICE          a TUN device behind which every address replies,
 *                              late, or after a negative delay never;
 *                              `delay MICROSECONDS`, `drain`
 *
 *   floor namespace CMD ARG... runs a command where no network is but loopback
 *   floor time CMD ARG...      runs a command, and then prints the time it took
 *   floor pending HOSTS PORT COUNT
 *                              leaves so many connects pending, and prints what
 *                              memory that took
 *
 * The first three serve the lines of their standard input, reply to each by one
 * line, and end when the input does. As a shared library, it exports functions
 * that do nothing, for what a call costs by itself.
 *
 *   cc -O2 -o floor floor.c
 *   cc -O2 -shared -fPIC -o floor.so floor.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#else
#define SOCK_CLOEXEC 0
#define SOCK_NONBLOCK 0
#endif

/* One queue of each holds few of a round's connects, so that a round fits where
   a backlog is cut to 128. */
#define SPREAD 16
#define BACKLOG 4096

/* ---- Functions that do nothing ------------------------------------------ */

int floor_none(void) { return 0; }
int floor_int(int a) { return a; }
int floor_ints(int a, int b, int c) { return a + b + c; }
int floor_buffer(const void *a) { return a != NULL; }
int floor_connect(int a, const void *b, unsigned c) { return a + (b != NULL) + (int)c; }
int floor_fail(void) {
  errno = ECONNREFUSED;
  return -1;
}

/* ---- What all modes use ------------------------------------------------- */

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "floor: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  exit(1);
}

static void answer(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  printf("\n");
  fflush(stdout);
}

static long long nanoseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Reads a line without reading ahead, so that poll sees what is left. */
static int read_line(char *line, size_t size) {
  size_t length = 0;
  while (length + 1 < size) {
    ssize_t got = read(0, line + length, 1);
    if (got <= 0) return 0;
    if (line[length] == '\n') break;
    length++;
  }
  line[length] = '\0';
  return 1;
}

static struct sockaddr_un unix_address(const char *directory, int index) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/%d", directory, index);
  return address;
}

/* ---- The peer on this machine ------------------------------------------- */

static int listeners[2 * SPREAD];
static int listener_count;

static int try_listen(int family, const void *address, socklen_t length) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0) {
    close(fd);
    return -1;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  listeners[listener_count++] = fd;
  return fd;
}

/* A reset leaves no port waiting for anything. It comes when a round is over,
   for one that overtakes the client's connect would fail it. */
static void drain(void) {
  static const struct linger reset = {1, 0};
  for (int i = 0; i < listener_count; i++) {
    int fd;
    while ((fd = accept(listeners[i], NULL, NULL)) >= 0) {
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(fd);
    }
  }
}

/* The client's process does all the work of a round: the kernel finishes the
   handshakes by itself, and the client is the first to close. A peer that
   accepts at once costs it the same, and more noise. `drain` ends what a round
   has left behind. */
static int serve_listener(const char *directory) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t length = sizeof address;
  char line[64], hosts[SPREAD * 16] = "";

  for (int i = 1; i <= SPREAD; i++) {
    char host[16];
    snprintf(host, sizeof host, "127.0.0.%d", i);
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = try_listen(AF_INET, &address, sizeof address);
    if (fd < 0 && i == 1) die("cannot listen: %s", strerror(errno));
    /* Linux has all of 127.0.0.0/8, others only what was configured. */
    if (fd < 0) break;
    if (i == 1) getsockname(fd, (struct sockaddr *)&address, &length);
    strcat(strcat(hosts, i == 1 ? "" : ","), host);
  }
  for (int i = 0; i < SPREAD; i++) {
    struct sockaddr_un path = unix_address(directory, i);
    if (try_listen(AF_UNIX, &path, sizeof path) < 0) {
      die("cannot listen on %s: %s", path.sun_path, strerror(errno));
    }
  }
  /* A port that is bound refuses, and neither a stranger nor the kernel's choice
     of a source port can take it. */
  struct sockaddr_in refused = {.sin_family = AF_INET};
  int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(bound, (struct sockaddr *)&refused, sizeof refused) < 0) {
    die("cannot bind: %s", strerror(errno));
  }
  length = sizeof refused;
  getsockname(bound, (struct sockaddr *)&refused, &length);

  answer("%s %d %d", hosts, ntohs(address.sin_port), ntohs(refused.sin_port));
  while (read_line(line, sizeof line)) {
    drain();
    answer("done");
  }
  return 0;
}

/* ---- The client --------------------------------------------------------- */

static struct sockaddr_in targets[SPREAD], refusers[SPREAD];
static struct sockaddr_un paths[SPREAD];
static int target_count;

static void expect(int got, int wanted, const char *what) {
  if (got != wanted) die("%s: %s", what, got == 0 ? "no error" : strerror(got));
}

static void blocking(long count, int wanted, int family, const void *addresses,
                     size_t size, int spread) {
  for (long i = 0; i < count; i++) {
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *address = (const char *)addresses + (size_t)(i % spread) * size;
    int result = connect(fd, (const struct sockaddr *)address, size);
    expect(result < 0 ? errno : 0, wanted, "connect");
    close(fd);
  }
}

static int take_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
  return error;
}

static int start(long i) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket: %s", strerror(errno));
  const struct sockaddr_in *target = &targets[i % target_count];
  int result = connect(fd, (const struct sockaddr *)target, sizeof *target);
  if (result < 0 && errno != EINPROGRESS) die("connect: %s", strerror(errno));
  return fd;
}

static void nonblocking(long count) {
  for (long i = 0; i < count; i++) {
    struct pollfd wait = {.fd = start(i), .events = POLLOUT};
    while (poll(&wait, 1, -1) <= 0);
    expect(take_error(wait.fd), 0, "SO_ERROR");
    close(wait.fd);
  }
}

static void in_flight(long count, long concurrency) {
#ifdef __linux__
  static struct epoll_event events[1024];
  int queue = epoll_create1(EPOLL_CLOEXEC);
  long started = 0, done = 0;
  while (done < count) {
    while (started < count && started - done < concurrency) {
      int fd = start(started++);
      struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
      if (epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    }
    int ready = epoll_wait(queue, events, 1024, -1);
    for (int i = 0; i < ready; i++) {
      expect(take_error(events[i].data.fd), 0, "SO_ERROR");
      close(events[i].data.fd);
      done++;
    }
  }
  close(queue);
#else
  (void)count, (void)concurrency;
  die("no epoll here");
#endif
}

/* Asks every port of the first target up to the last one. The kernel may have
   given a connect the very port that it asks for, which then reaches itself:
   that is no open port. */
static void scan(long last, int open) {
  struct sockaddr_in target = targets[0], own;
  for (long port = 1; port <= last; port++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    target.sin_port = htons(port);
    int result = connect(fd, (const struct sockaddr *)&target, sizeof target);
    if (result < 0 && errno != ECONNREFUSED) die("port %ld: %s", port, strerror(errno));
    socklen_t length = sizeof own;
    if (result == 0) getsockname(fd, (struct sockaddr *)&own, &length);
    int found = result == 0 && own.sin_port != target.sin_port;
    if (found != (port == open)) die("port %ld is %s", port, found ? "open" : "closed");
    close(fd);
  }
}

static int by_size(const void *a, const void *b) {
  const unsigned *left = a, *right = b;
  return (*left > *right) - (*left < *right);
}

/* What the kernel says that the handshake of a fresh connection took, in
   microseconds: the median of some. */
static unsigned handshake(long count) {
#ifdef __linux__
  unsigned samples[1000];
  if (count < 1 || count > 1000) die("no such count: %ld", count);
  for (long i = 0; i < count; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in *target = &targets[i % target_count];
    if (connect(fd, (const struct sockaddr *)target, sizeof *target) < 0) die("connect: %s", strerror(errno));
    struct tcp_info info;
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) die("TCP_INFO: %s", strerror(errno));
    samples[i] = info.tcpi_rtt;
    close(fd);
  }
  qsort(samples, count, sizeof *samples, by_size);
  return samples[count / 2];
#else
  (void)count, (void)by_size;
  return 0;
#endif
}

static void set_targets(char *hosts, int port, int refused) {
  for (char *host = strtok(hosts, ","); host && target_count < SPREAD; host = strtok(NULL, ",")) {
    struct sockaddr_in *target = &targets[target_count];
    target->sin_family = AF_INET;
    target->sin_port = htons(port);
    if (inet_pton(AF_INET, host, &target->sin_addr) != 1) die("no address: %s", host);
    refusers[target_count] = *target;
    refusers[target_count++].sin_port = htons(refused);
  }
}

/* Prints the time that a round took, and the CPU's share of it, in ns. */
static int serve_client(char *hosts, int port, int refused, const char *directory) {
  set_targets(hosts, port, refused);
  for (int i = 0; i < SPREAD; i++) paths[i] = unix_address(directory, i);

  answer("ready");
  char line[128], kind[32];
  while (read_line(line, sizeof line)) {
    long count = 0, concurrency = 1;
    if (sscanf(line, "rtt %ld", &count) == 1) {
      answer("%u", handshake(count));
      continue;
    }
    if (sscanf(line, "round %31s %ld %ld", kind, &count, &concurrency) < 2) die("what is: %s", line);
    long long cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    long long wall = nanoseconds(CLOCK_MONOTONIC);
    if (strcmp(kind, "blocking") == 0) {
      blocking(count, 0, AF_INET, targets, sizeof *targets, target_count);
    } else if (strcmp(kind, "refused") == 0 || strcmp(kind, "thrown") == 0) {
      blocking(count, ECONNREFUSED, AF_INET, refusers, sizeof *refusers, target_count);
    } else if (strcmp(kind, "unix") == 0) {
      blocking(count, 0, AF_UNIX, paths, sizeof *paths, SPREAD);
    } else if (strcmp(kind, "nonblocking") == 0) {
      nonblocking(count);
    } else if (strcmp(kind, "flight") == 0) {
      in_flight(count, concurrency);
    } else if (strcmp(kind, "scan") == 0) {
      scan(count, port);
    } else {
      die("what is: %s", line);
    }
    wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    answer("%lld %lld", wall, cpu);
  }
  return 0;
}

/* What this process has in memory, in bytes. */
static long long resident(void) {
  long long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL || fscanf(file, "%*d %lld", &pages) != 1) die("no /proc/self/statm");
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

static int leave_pending(char *hosts, int port, long count) {
  set_targets(hosts, port, 0);
  long long before = resident();
  struct pollfd *fds = calloc(count, sizeof *fds);
  for (long i = 0; i < count; i++) fds[i] = (struct pollfd){.fd = start(i), .events = POLLOUT};
  if (poll(fds, count, 0) != 0) die("not all are pending");
  answer("0 %lld", resident() - before);
  return 0;
}

/* ---- Commands ----------------------------------------------------------- */

/* The time goes from before the command is there until after it is gone, and
   the CPU's share counts its threads, and those that it has waited for. */
static int run_timed(char **command) {
  long long wall = nanoseconds(CLOCK_MONOTONIC);
  pid_t child = fork();
  if (child == 0) {
    execvp(command[0], command);
    die("%s: %s", command[0], strerror(errno));
  }
  int status;
  struct rusage usage;
  if (child < 0 || wait4(child, &status, 0, &usage) < 0) die("%s: %s", command[0], strerror(errno));
  wall = nanoseconds(CLOCK_MONOTONIC) - wall;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) die("%s: failed", command[0]);
  long long seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
  long long rest = usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
  answer("%lld %lld", wall, seconds * 1000000000 + rest * 1000);
  return 0;
}

/* ---- The peer that replies late ----------------------------------------- */

#ifdef __linux__

static void configure(int fd, unsigned long request, struct ifreq *device, const char *what) {
  if (ioctl(fd, request, device) < 0) die("%s: %s", what, strerror(errno));
}

static void set_up(int fd, struct ifreq *device) {
  device->ifr_flags = IFF_UP;
  configure(fd, SIOCSIFFLAGS, device, "cannot set the device up");
}

static void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) die("%s: %s", path, strerror(errno));
  close(fd);
}

/* The namespace has no name and goes with its last process, whatever ends it. */
static int run_in_namespace(char **command) {
  char map[32];
  unsigned uid = getuid(), gid = getgid();
  if (unshare(CLONE_NEWNET) < 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) die("no network namespace: %s", strerror(errno));
    snprintf(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
  }
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq loopback = {.ifr_name = "lo"};
  set_up(fd, &loopback);
  execvp(command[0], command);
  die("%s: %s", command[0], strerror(errno));
  return 1;
}

/* Nothing may leave the machine, so it has to be a namespace without a way out. */
static void demand_isolation(void) {
  struct if_nameindex *devices = if_nameindex();
  for (struct if_nameindex *device = devices; device && device->if_index; device++) {
    unsigned flags = 0;
    struct ifreq request = {0};
    strncpy(request.ifr_name, device->if_name, IFNAMSIZ - 1);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) flags = (unsigned short)request.ifr_flags;
    close(fd);
    if ((flags & IFF_UP) && !(flags & IFF_LOOPBACK)) {
      die("%s is up: this is for a namespace of its own", device->if_name);
    }
  }
  if_freenameindex(devices);
}

static int open_device(const char *name) {
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) die("/dev/net/tun: %s", strerror(errno));
  struct ifreq device = {0};
  strncpy(device.ifr_name, name, IFNAMSIZ - 1);
  device.ifr_flags = IFF_TUN | IFF_NO_PI;
  configure(tun, TUNSETIFF, &device, "cannot make the device");

  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  /* Thousands of SYNs leave at once, and a queue that is full drops them. */
  device.ifr_qlen = 1 << 16;
  configure(fd, SIOCSIFTXQLEN, &device, "cannot set the queue's length");
  struct sockaddr_in *address = (struct sockaddr_in *)&device.ifr_addr;
  memset(address, 0, sizeof *address);
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(0x0a000001);
  configure(fd, SIOCSIFADDR, &device, "cannot set the address");
  address->sin_addr.s_addr = htonl(0xff000000);
  configure(fd, SIOCSIFNETMASK, &device, "cannot set the netmask");
  set_up(fd, &device);
  close(fd);
  return tun;
}

struct ipv4 {
  uint8_t version, service;
  uint16_t length, id, fragment;
  uint8_t ttl, protocol;
  uint16_t checksum;
  uint32_t source, target;
};

struct tcp {
  uint16_t source, target;
  uint32_t sequence, acknowledged;
  uint8_t offset, flags;
  uint16_t window, checksum, urgent;
};

struct segment {
  struct ipv4 ip;
  struct tcp tcp;
};

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static uint32_t sum(const void *data, size_t size) {
  const uint16_t *words = data;
  uint32_t total = 0;
  for (size_t i = 0; i < size / 2; i++) total += words[i];
  return total;
}

static uint16_t fold(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return (uint16_t)~total;
}

static struct segment reply(const struct segment *to, int flags, uint32_t sequence, uint32_t acknowledged) {
  struct segment out = {
      .ip = {.version = 0x45, .length = htons(sizeof out), .ttl = 64, .protocol = IPPROTO_TCP,
             .source = to->ip.target, .target = to->ip.source},
      .tcp = {.source = to->tcp.target, .target = to->tcp.source, .sequence = sequence,
              .acknowledged = acknowledged, .offset = sizeof(struct tcp) / 4 << 4,
              .flags = flags, .window = htons(65535)}};
  out.ip.checksum = fold(sum(&out.ip, sizeof out.ip));
  out.tcp.checksum = fold(sum(&out.ip.source, 8) + htons(IPPROTO_TCP) +
                          htons(sizeof out.tcp) + sum(&out.tcp, sizeof out.tcp));
  return out;
}

/* A power of two; one delay for all keeps the queue in order by itself. */
#define WAITING (1 << 17)
static struct {
  long long due;
  struct segment segment;
} waiting[WAITING];
static unsigned oldest, newest;

/* A reply to a SYN waits; whatever ends a connection gets a reset at once, so that
   no port is left waiting. */
static void take(int tun, const struct segment *in, ssize_t size, long long delay) {
  if (size < (ssize_t)sizeof *in || in->ip.version != 0x45 || in->ip.protocol != IPPROTO_TCP) return;
  if (in->tcp.flags & RST) return;
  if (in->tcp.flags & SYN) {
    if (delay < 0) return;
    if (newest - oldest == WAITING) die("too many at once");
    unsigned at = newest++ % WAITING;
    waiting[at].due = nanoseconds(CLOCK_MONOTONIC) + delay;
    waiting[at].segment = reply(in, SYN | ACK, htonl(1), htonl(ntohl(in->tcp.sequence) + 1));
  } else if ((in->tcp.flags & FIN) || ntohs(in->ip.length) > (in->tcp.offset >> 4) * 4 + 20) {
    struct segment out = reply(in, RST, in->tcp.acknowledged, 0);
    if (write(tun, &out, sizeof out) < 0) die("write: %s", strerror(errno));
  }
}

/* The reply to a line comes when nothing else has for so long, in ns: what is on
   its way belongs to the round before. */
#define QUIET 20000000

static int serve_late(const char *name) {
  demand_isolation();
  int tun = open_device(name);
  long long delay = 0;
  int asked = 0;
  union {
    struct segment segment;
    char bytes[2048];
  } in;
  char line[64];
  prctl(PR_SET_TIMERSLACK, 1UL);
  answer("ready");
  struct pollfd fds[2] = {{.fd = tun, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  for (;;) {
    long long left = -1;
    while (oldest != newest) {
      left = waiting[oldest % WAITING].due - nanoseconds(CLOCK_MONOTONIC);
      if (left > 0) break;
      const struct segment *out = &waiting[oldest++ % WAITING].segment;
      if (write(tun, out, sizeof *out) < 0) die("write: %s", strerror(errno));
    }
    int idle = oldest == newest;
    if (idle) left = QUIET;
    struct timespec wait = {left / 1000000000, left % 1000000000};
    int ready = ppoll(fds, asked ? 1 : 2, idle && !asked ? NULL : &wait, NULL);
    if (ready < 0) continue;
    if (ready == 0 && idle && asked) {
      if (sscanf(line, "delay %lld", &delay) == 1) delay *= 1000;
      asked = 0;
      answer("done");
    }
    if (fds[0].revents) {
      /* Not all at once: replies may be due meanwhile. */
      for (int i = 0; i < 64; i++) {
        ssize_t size = read(tun, &in, sizeof in);
        if (size < 0) break;
        take(tun, &in.segment, size, delay);
      }
    }
    if (!asked && fds[1].revents) {
      if (!read_line(line, sizeof line)) return 0;
      asked = 1;
      fds[1].revents = 0;
    }
  }
}

#endif

int main(int count, char **arguments) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  const char *mode = count > 1 ? arguments[1] : "";
  if (strcmp(mode, "listen") == 0 && count == 3) return serve_listener(arguments[2]);
  if (strcmp(mode, "client") == 0 && count == 6) {
    return serve_client(arguments[2], atoi(arguments[3]), atoi(arguments[4]), arguments[5]);
  }
  if (strcmp(mode, "pending") == 0 && count == 5) {
    return leave_pending(arguments[2], atoi(arguments[3]), atol(arguments[4]));
  }
  if (strcmp(mode, "time") == 0 && count > 2) return run_timed(arguments + 2);
#ifdef __linux__
  if (strcmp(mode, "namespace") == 0 && count > 2) return run_in_namespace(arguments + 2);
  if (strcmp(mode, "late") == 0 && count == 3) return serve_late(arguments[2]);
#endif
  die("cannot run \"%s\" here", mode);
}
