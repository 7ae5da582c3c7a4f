/* Makes fsync and fdatasync fail with EIO, as a dying disk does, while the file named by FAILSYNC_WHILE exists, and
   hang, as a disk behind a dead controller does, while that of HANGSYNC_WHILE does. Preloaded into the real daemons; nothing of them knows of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int dying(void) {
    const char *file = getenv("FAILSYNC_WHILE");
    return file && access(file, F_OK) == 0;
}

static int real(const char *name, int fd) {
    const char *hanging = getenv("HANGSYNC_WHILE");
    while (hanging && access(hanging, F_OK) == 0) usleep(20000);
    int (*call)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return call(fd);
}

int fsync(int fd) {
    if (dying()) { errno = EIO; return -1; }
    return real("fsync", fd);
}

int fdatasync(int fd) {
    if (dying()) { errno = EIO; return -1; }
    return real("fdatasync", fd);
}
