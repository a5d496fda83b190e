/*
 * Preloaded by faults.rs: counts the system calls that concern a folder, or standard output, and lets some of them fail.
 *
 *   WHIT_FAULT_FOLDER  absolute path; calls on files below it are counted, from 0
 *   WHIT_FAULT_LOG     one line a call: NUMBER NAME FILE FAULT, FILE relative to the folder, FAULT "-" where it has none
 *   WHIT_FAULT_PLAN    NUMBER:FAULT, by commas: an errno, SHORT (half of a write is written), KILL (before the call) or
 *                      RESIZE (before the call, which goes on: WHIT_FAULT_SOURCE becomes WHIT_FAULT_LENGTH bytes long)
 *
 * Only the thread that writes the target makes such calls, so that nothing here is locked.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define SHORT (-1)
#define MAX_FD 256
#define MAX_NAME 256

static const struct {
    const char *name;
    int value;
} FAULTS[] = {
    {"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR}, {"EOPNOTSUPP", EOPNOTSUPP}, {"SHORT", SHORT},
};

static const char *folder, *plan;
static int log_fd = -1, calls;
/* Files of the folder by their descriptor; an empty name is a file of no interest. */
static char names[MAX_FD][MAX_NAME];

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("WHIT_FAULT_LOG");
    plan = getenv("WHIT_FAULT_PLAN");
    folder = getenv("WHIT_FAULT_FOLDER");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (!folder || !plan || fd < 0) {
        _exit(99);
    }
    /* Out of the way: descriptors of the program keep the numbers that they have without us. */
    log_fd = fcntl(fd, F_DUPFD_CLOEXEC, MAX_FD);
    syscall(SYS_close, fd);
    strcpy(names[STDOUT_FILENO], "stdout");
}

/* The name of `path` within the folder, or none. */
static const char *below(const char *path) {
    size_t length = strlen(folder);
    if (!path || strncmp(path, folder, length)) {
        return NULL;
    }
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : ".";
}

static const char *opened(int fd) {
    return fd >= 0 && fd < MAX_FD && names[fd][0] ? names[fd] : NULL;
}

/* Counts a call on `file`; gives the errno that it has to fail with, SHORT, or 0. */
static int fault(const char *call, const char *file) {
    if (!file) {
        return 0;
    }
    int number = calls++, value = 0, kill_now = 0, resize_now = 0;
    char word[16] = "-", line[MAX_NAME + 64];
    for (const char *entry = plan; *entry; entry += strcspn(entry, ","), entry += *entry == ',') {
        int at;
        char found[16];
        if (sscanf(entry, "%d:%15[A-Z]", &at, found) == 2 && at == number) {
            strcpy(word, found);
            kill_now = !strcmp(found, "KILL");
            resize_now = !strcmp(found, "RESIZE");
            for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
                value = strcmp(found, FAULTS[i].name) ? value : FAULTS[i].value;
            }
        }
    }
    int length = snprintf(line, sizeof line, "%d %s %s %s\n", number, call, file, word);
    syscall(SYS_write, log_fd, line, length);
    if (kill_now) {
        kill(getpid(), SIGKILL);
    }
    if (resize_now && truncate(getenv("WHIT_FAULT_SOURCE"), atol(getenv("WHIT_FAULT_LENGTH")))) {
        _exit(99);
    }
    if (value > 0) {
        errno = value;
    }
    return value;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    const char *file = below(path);
    if (fault(flags & O_EXCL ? "create" : "open", file)) {
        return -1;
    }
    int fd = REAL(open64)(path, flags, mode);
    if (file && fd >= 0 && fd < MAX_FD) {
        snprintf(names[fd], MAX_NAME, "%s", file);
    }
    return fd;
}

int close(int fd) {
    int wrong = fault("close", fd == STDOUT_FILENO ? NULL : opened(fd));
    if (fd >= 0 && fd < MAX_FD && fd != STDOUT_FILENO) {
        names[fd][0] = 0;
    }
    /* The descriptor is gone even where Linux reports an error. */
    int result = REAL(close)(fd);
    if (wrong) {
        errno = wrong;
    }
    return wrong ? -1 : result;
}

DIR *opendir(const char *path) {
    return fault("opendir", below(path)) ? NULL : REAL(opendir)(path);
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict out) {
    /* std asks with a null pointer whether the call exists, which the header's attribute would have the compiler deny. */
    const char *volatile given = path;
    const char *file = given && *given ? below(given) : opened(fd);
    return fault("stat", file) ? -1 : REAL(statx)(fd, path, flags, mask, out);
}

char *realpath(const char *restrict path, char *restrict out) {
    return fault("realpath", below(path)) ? NULL : REAL(realpath)(path, out);
}

int flock(int fd, int operation) {
    return fault("flock", opened(fd)) ? -1 : REAL(flock)(fd, operation);
}

int fstatvfs(int fd, struct statvfs *out) {
    return fault("statvfs", opened(fd)) ? -1 : REAL(fstatvfs)(fd, out);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fault("fallocate", opened(fd)) ? -1 : REAL(fallocate)(fd, mode, offset, length);
}

int ftruncate64(int fd, off64_t length) {
    return fault("truncate", opened(fd)) ? -1 : REAL(ftruncate64)(fd, length);
}

off64_t lseek64(int fd, off64_t offset, int whence) {
    return fault("seek", opened(fd)) ? -1 : REAL(lseek64)(fd, offset, whence);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    int wrong = fault("write", opened(fd));
    if (wrong > 0) {
        return -1;
    }
    return REAL(write)(fd, bytes, wrong == SHORT && count > 1 ? count / 2 : count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int wrong = fault("write", opened(fd));
    if (wrong > 0) {
        return -1;
    }
    if (wrong == SHORT) {
        return REAL(write)(fd, parts[0].iov_base, parts[0].iov_len);
    }
    return REAL(writev)(fd, parts, count);
}

int fsync(int fd) {
    return fault("fsync", opened(fd)) ? -1 : REAL(fsync)(fd);
}

int rename(const char *from, const char *to) {
    return fault("rename", below(to)) ? -1 : REAL(rename)(from, to);
}

int unlink(const char *path) {
    return fault("unlink", below(path)) ? -1 : REAL(unlink)(path);
}
