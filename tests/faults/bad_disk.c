/* A disk that fails: once the file named by BAD_DISK_FILE exists, the operation it names ("sync" or "write") answers EIO
 * for every file whose path contains the rest of its line, e.g. "sync /log/". Preloaded into the shop under test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(int file, const char *operation) {
    const char *name = getenv("BAD_DISK_FILE");
    char order[64] = {0}, link[32], path[4096] = {0};
    int orders = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (orders < 0) return 0;
    ssize_t length = syscall(SYS_read, orders, order, sizeof order - 1);
    close(orders);
    size_t word = strlen(operation);
    if (length <= 0 || strncmp(order, operation, word) || order[word] != ' ') return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) < 0 || !strstr(path, order + word + 1)) return 0;
    errno = EIO;
    return 1;
}

int fsync(int file) { return fails(file, "sync") ? -1 : (int)syscall(SYS_fsync, file); }
int fdatasync(int file) { return fails(file, "sync") ? -1 : (int)syscall(SYS_fdatasync, file); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    return fails(file, "write") ? -1 : syscall(SYS_pwrite64, file, bytes, length, offset);
}
ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}
