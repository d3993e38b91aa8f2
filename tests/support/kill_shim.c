/* Ends the process that loads it (LD_PRELOAD) right before one of its calls that change a file below a folder.
 *
 *   HANDLENS_KILL_UNDER=FOLDER   calls on files below this folder count, and no others
 *   HANDLENS_KILL_AT=N           SIGKILL before the N-th of them; a write with HANDLENS_KILL_TORN=1 after its first half
 *   HANDLENS_KILL_LOG=FILE       append the name of each call, one a line
 *
 * It sees what Python, SQLite, tuf and hnswlib do alike: write, rename, fsync, link, unlink, mkdir, truncate.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long passed;

static int is_under(const char *path) {
    const char *under = getenv("HANDLENS_KILL_UNDER");
    return under && path && strncmp(path, under, strlen(under)) == 0;
}

static int is_fd_under(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_under(path);
}

static void note(const char *name) {
    const char *log = getenv("HANDLENS_KILL_LOG");
    if (!log) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    char line[64];
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (syscall(SYS_write, fd, line, (size_t)length) < 0) abort();
    syscall(SYS_close, fd);
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether this call is the one to end at. */
static int is_last(const char *name) {
    const char *at = getenv("HANDLENS_KILL_AT");
    note(name);
    return __sync_add_and_fetch(&passed, 1) == (at ? atol(at) : -1);
}

static int is_torn(void) { return getenv("HANDLENS_KILL_TORN") != NULL; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITES(name, length_type, PARAMS, HALF, ...)                         \
    ssize_t name PARAMS {                                                    \
        if (is_fd_under(fd) && is_last(#name)) {                             \
            if (is_torn() && size > 1) REAL(name) HALF;                      \
            end();                                                           \
        }                                                                    \
        return REAL(name)(__VA_ARGS__);                                      \
    }

WRITES(write, size_t, (int fd, const void *data, size_t size), (fd, data, size / 2), fd, data, size)
WRITES(pwrite, size_t, (int fd, const void *data, size_t size, off_t at), (fd, data, size / 2, at), fd, data, size, at)
WRITES(pwrite64, size_t, (int fd, const void *data, size_t size, off64_t at), (fd, data, size / 2, at), fd, data, size, at)
WRITES(writev, int, (int fd, const struct iovec *data, int size), (fd, data, size / 2), fd, data, size)

ssize_t sendfile(int fd, int from, off_t *at, size_t size) {
    if (is_fd_under(fd) && is_last("sendfile")) end();
    return ((ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile"))(fd, from, at, size);
}

ssize_t sendfile64(int fd, int from, off64_t *at, size_t size) {
    if (is_fd_under(fd) && is_last("sendfile")) end();
    return ((ssize_t(*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64"))(fd, from, at, size);
}

#define ON_FD(name, PARAMS, ...)                              \
    int name PARAMS {                                         \
        if (is_fd_under(fd) && is_last(#name)) end();         \
        return REAL(name)(__VA_ARGS__);                       \
    }

ON_FD(fsync, (int fd), fd)
ON_FD(fdatasync, (int fd), fd)
ON_FD(ftruncate, (int fd, off_t size), fd, size)
ON_FD(ftruncate64, (int fd, off64_t size), fd, size)

#define ON_PATH(name, path, PARAMS, ...)                      \
    int name PARAMS {                                         \
        if (is_under(path) && is_last(#name)) end();          \
        return REAL(name)(__VA_ARGS__);                       \
    }

ON_PATH(rename, to, (const char *from, const char *to), from, to)
ON_PATH(link, to, (const char *from, const char *to), from, to)
ON_PATH(linkat, to, (int fd, const char *from, int other, const char *to, int flags), fd, from, other, to, flags)
ON_PATH(symlink, to, (const char *from, const char *to), from, to)
ON_PATH(unlink, path, (const char *path), path)
ON_PATH(rmdir, path, (const char *path), path)
ON_PATH(mkdir, path, (const char *path, mode_t mode), path, mode)

int unlinkat(int fd, const char *path, int flags) {
    if ((is_under(path) || is_fd_under(fd)) && is_last("unlinkat")) end();
    return REAL(unlinkat)(fd, path, flags);
}
