/*
 * Preloaded into User-mode Linux 6.1, lets it start where the processor has AMX.
 *
 * ptrace(2) takes the extended registers of a process whole or not at all, and
 * that kernel keeps no room for those of AMX. What it leaves out stays as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { GETREGSET = 0x4204, SETREGSET = 0x4205, XSTATE = 0x202 };

typedef long (*Ptrace)(int, pid_t, void *, void *);

long ptrace(int request, ...)
{
    static Ptrace next;
    static _Alignas(64) char registers[64 * 1024];
    struct iovec whole = { registers, sizeof registers };
    va_list rest;

    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *kind = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    if (next == NULL)
        next = (Ptrace)dlsym(RTLD_NEXT, "ptrace");
    if (request != SETREGSET || kind != (void *)XSTATE)
        return next(request, pid, kind, data);

    const struct iovec *given = data;
    if (next(GETREGSET, pid, kind, &whole) < 0)
        return -1;
    if (given->iov_len >= whole.iov_len)
        return next(request, pid, kind, data);
    memcpy(registers, given->iov_base, given->iov_len);
    return next(request, pid, kind, &whole);
}
