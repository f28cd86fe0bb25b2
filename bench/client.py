"""The work of a round with Python's `socket`; the lines are those of floor.c's client.

client.py HOSTS PORT REFUSED DIR
"""

import errno
import resource
import select
import socket
import sys
import time

SPREAD = 16

hosts, port, refused, directory = sys.argv[1:]
port = int(port)
targets = [(host, port) for host in hosts.split(",")]
refusers = [(host, int(refused)) for host, _ in targets]
paths = [f"{directory}/{i}" for i in range(SPREAD)]


def blocking(count, _):
    for i in range(count):
        with socket.socket() as s:
            s.connect(targets[i % len(targets)])


def refusal(count, _):
    for i in range(count):
        with socket.socket() as s:
            expect(s.connect_ex(refusers[i % len(refusers)]), errno.ECONNREFUSED)


def thrown(count, _):
    for i in range(count):
        with socket.socket() as s:
            try:
                s.connect(refusers[i % len(refusers)])
            except ConnectionRefusedError:
                continue
            expect(0, errno.ECONNREFUSED)


def unix(count, _):
    for i in range(count):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(paths[i % SPREAD])


def start(i):
    s = socket.socket()
    s.setblocking(False)
    expect(s.connect_ex(targets[i % len(targets)]), errno.EINPROGRESS)
    return s


def finish(s):
    expect(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)
    s.close()


def nonblocking(count, _):
    for i in range(count):
        s = start(i)
        wait = select.poll()
        wait.register(s, select.POLLOUT)
        wait.poll()
        finish(s)


def flight(count, concurrency):
    started = 0
    pending = {}
    with select.epoll() as queue:
        while started < count or pending:
            while started < count and len(pending) < concurrency:
                s = start(started)
                started += 1
                pending[s.fileno()] = s
                queue.register(s, select.EPOLLOUT)
            for fd, _ in queue.poll(-1, 1024):
                finish(pending.pop(fd))


def scan(count, _):
    host = targets[0][0]
    for other in range(1, count + 1):
        with socket.socket() as s:
            result = s.connect_ex((host, other))
            # A connect to the port that it was given itself reaches itself.
            found = result == 0 and s.getsockname()[1] != other
            if result not in (0, errno.ECONNREFUSED) or found != (other == port):
                raise SystemExit(f"client.py: port {other}: {result}")


def expect(got, wanted):
    if got != wanted:
        raise OSError(got, "expected another result")


KINDS = {
    "blocking": blocking,
    "nonblocking": nonblocking,
    "refused": refusal,
    "thrown": thrown,
    "unix": unix,
    "flight": flight,
    "scan": scan,
}

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print("ready", flush=True)
for line in sys.stdin:
    _, kind, count, concurrency = line.split()
    run, count, concurrency = KINDS[kind], int(count), int(concurrency)
    cpu = time.process_time_ns()
    wall = time.monotonic_ns()
    run(count, concurrency)
    wall = time.monotonic_ns() - wall
    cpu = time.process_time_ns() - cpu
    print(wall, cpu, flush=True)
