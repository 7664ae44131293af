/* Loaded before the C library (LD_PRELOAD), it makes system calls fail on demand: the nth call of a kind, once or from
   then on. Every caller in the process is reached, Python and compiled libraries alike. See test_checkpoint_faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { OPEN, WRITE, FSYNC, RENAME, TRUNCATE, MKDIR, CHMOD, READ, KINDS };

static int armed, kind_to_fail, nth_to_fail, for_good, error_number, counts[KINDS];

/* Begin to count; from call number `nth` (from 0) of this kind on, fail. A negative `nth`: only count. */
void faults_arm(int kind, int nth, int forever, int error) {
    memset(counts, 0, sizeof counts);
    kind_to_fail = kind, nth_to_fail = nth, for_good = forever, error_number = error;
    armed = 1;
}

void faults_disarm(void) { armed = 0; }

int faults_count(int kind) { return counts[kind]; }

static int fails(int kind) {
    if (!armed) return 0;
    int n = counts[kind]++;
    if (kind != kind_to_fail || nth_to_fail < 0 || (for_good ? n < nth_to_fail : n != nth_to_fail)) return 0;
    errno = error_number;
    return 1;
}

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

#define OPENING(name)                                                  \
    int name(const char *path, int flags, ...) {                       \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;    \
        va_end(rest);                                                  \
        return fails(OPEN) ? -1 : REAL(name, path, flags, mode);       \
    }
OPENING(open)
OPENING(open64)

ssize_t write(int fd, const void *data, size_t size) { return fails(WRITE) ? -1 : REAL(write, fd, data, size); }
ssize_t read(int fd, void *data, size_t size) { return fails(READ) ? -1 : REAL(read, fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int n) { return fails(WRITE) ? -1 : REAL(writev, fd, parts, n); }
int fsync(int fd) { return fails(FSYNC) ? -1 : REAL(fsync, fd); }
int rename(const char *from, const char *to) { return fails(RENAME) ? -1 : REAL(rename, from, to); }
int ftruncate64(int fd, off64_t size) { return fails(TRUNCATE) ? -1 : REAL(ftruncate64, fd, size); }
int mkdir(const char *path, mode_t mode) { return fails(MKDIR) ? -1 : REAL(mkdir, path, mode); }
int chmod(const char *path, mode_t mode) { return fails(CHMOD) ? -1 : REAL(chmod, path, mode); }
