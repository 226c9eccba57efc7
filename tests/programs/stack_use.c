// How much stack each call needs below its caller: every call on a stack of its own that was painted
// before, in every situation that makes a fence work. Says "CALL SITUATION BYTES" for each. What a
// situation needs beside the call itself happens on the program's own stack.
#include "hazard.h"
#include <aio.h>
#include <linux/aio_abi.h>
#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <mntent.h>
#include <mqueue.h>
#include <pty.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <ucontext.h>
#include <ulimit.h>
#include <utmp.h>
#include <wordexp.h>

#define ROOM (128 * 1024)
#define PAINT 0xa5
#define VECTORS 40

static char *stack;
static ucontext_t here, there;
static pid_t self;
// What a child that a call made used of its copy of the stack.
static volatile size_t *in_child;

static void *const main_of_ours = (void *)&memset;

static int listed(int fd, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vdprintf(fd, format, list);
    va_end(list);
    return n;
}

static void paint(void) { memset(stack, PAINT, ROOM); }

static size_t painted_over(void) {
    const uint32_t *words = (const uint32_t *)stack;
    size_t low = 0;
    while (low < ROOM / sizeof *words && words[low] == PAINT * 0x01010101u)
        low++;
    return ROOM - low * sizeof *words;
}

static size_t used(void (*call)(void)) {
    paint();
    MUST(getcontext(&there));
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = ROOM;
    there.uc_link = &here;
    makecontext(&there, call, 0);
    *in_child = 0;
    MUST(swapcontext(&here, &there));
    if (syscall(SYS_getpid) != self) {
        *in_child = painted_over();
        _exit(0);
    }
    return painted_over();
}

// ---- what the calls are about

static char name[64]; // a file in the current directory
static int f, b, d;   // the number that is measured with, and the file open both ways
static char *page, *map;
static struct iovec iov[VECTORS];
static char *const argv[] = {"true", NULL};
static char *own_env[] = {"A=b", "B=c", NULL};
static long result;
static struct aiocb block;
static struct aiocb *blocks[] = {&block};
static off_t at;
static struct stat facts;
static struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
static struct rlimit64 limit64 = {RLIM64_INFINITY, RLIM64_INFINITY};
static int pipes[2], pairs[2], self_by_number;
static char template[32];
static char control[CMSG_SPACE(sizeof(int))];
static struct iovec one;
static struct msghdr message;
static struct mmsghdr messages[1];
static struct {
    struct file_dedupe_range head;
    struct file_dedupe_range_info info;
} one_file = {.head = {.src_length = PAGE, .dest_count = 1}};
static struct open_how truncating = {.flags = O_RDWR | O_TRUNC};
extern char **environ;

static void message_with(int fd) {
    one = (struct iovec){page, 1};
    message = (struct msghdr){.msg_iov = &one, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    *part = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(part), &fd, sizeof fd);
    messages[0].msg_hdr = message;
}

static char *fresh_template(const char *text) { return strcpy(template, text); }

// Functions that may not be there; without them nothing is used.
#define ELSEWHERE(X) X(io_setup) X(io_submit) X(io_getevents) X(io_pgetevents) X(io_cancel) X(io_destroy) \
    X(io_queue_init) X(io_queue_release) X(io_uring_queue_init) X(pidfd_open) X(pidfd_getfd) X(capset) X(umount) X(pivot_root) X(vlimit) \
    X(process_madvise)
#define POINTER(symbol) static long (*may_##symbol)();
ELSEWHERE(POINTER)
static void find_elsewhere(void) {
#define FIND(symbol) may_##symbol = (long (*)())dlsym(RTLD_DEFAULT, #symbol);
    ELSEWHERE(FIND)
}
#define OPTIONAL(symbol, ...) result = may_##symbol ? may_##symbol(__VA_ARGS__) : 0

// A request to a queue of the library's own making.
static unsigned long queue;
static struct iocb request, *requests[] = {&request};

static long under_way;

static long submit(int opcode) {
    int vector = opcode == IOCB_CMD_PWRITEV;
    request = (struct iocb){.aio_fildes = f, .aio_lio_opcode = opcode, .aio_buf = (uintptr_t)(vector ? (void *)iov : page)};
    request.aio_nbytes = vector ? VECTORS : PAGE;
    long rc = may_io_submit ? may_io_submit(queue, 1L, requests) : 0;
    under_way += rc > 0;
    return rc;
}

static long take(void) {
    static struct io_event events[4];
    if (submit(IOCB_CMD_PWRITE) != 1)
        return 0;
    under_way--;
    return may_io_getevents(queue, 1L, 4L, events, NULL);
}

static void take_all(void) {
    static struct io_event events[16];
    while (under_way > 0)
        under_way -= may_io_getevents(queue, 1L, 16L, events, NULL);
}

static void reap(pid_t pid) {
    int status;
    if (pid > 0)
        waitpid(pid, &status, 0);
}

static pid_t child;

// Calls that may be made in every situation.
#define CALLS(X) \
    X(read, result = read(f, page, PAGE)) \
    X(pread, result = pread(f, page, PAGE, 0)) \
    X(readv, result = readv(f, iov, VECTORS)) \
    X(preadv, result = preadv(f, iov, VECTORS, 0)) \
    X(preadv2, result = preadv2(f, iov, VECTORS, -1, 0)) \
    X(write, result = write(f, page, PAGE)) \
    X(pwrite, result = pwrite(f, page, PAGE, 0)) \
    X(writev, result = writev(f, iov, VECTORS)) \
    X(pwritev, result = pwritev(f, iov, VECTORS, 0)) \
    X(pwritev2, result = pwritev2(f, iov, VECTORS, PAGE, RWF_APPEND)) \
    X(lseek, result = lseek(f, 0, SEEK_SET)) \
    X(fsync, result = fsync(f)) \
    X(fdatasync, result = fdatasync(f)) \
    X(sync_file_range, result = sync_file_range(f, 0, 1, SYNC_FILE_RANGE_WAIT_BEFORE)) \
    X(ftruncate, result = ftruncate(f, PAGE)) \
    X(truncate, result = truncate(name, PAGE)) \
    X(fallocate, result = fallocate(f, 0, SIZE, PAGE)) \
    X(posix_fallocate, result = posix_fallocate(f, SIZE, PAGE)) \
    X(open, result = open(name, O_RDWR | O_TRUNC)) \
    X(open_direct, result = open(name, O_RDWR | O_DIRECT)) \
    X(openat, result = openat(AT_FDCWD, name, O_RDWR | O_TRUNC)) \
    X(creat, result = creat(name, 0600)) \
    X(close, result = close(f)) \
    X(close_range, result = close_range(f, f, 0)) \
    X(dup, result = dup(f)) \
    X(dup2, result = dup2(f, b)) \
    X(dup3, result = dup3(f, 900, 0)) \
    X(fcntl, result = fcntl(f, F_GETFL)) \
    X(fcntl_setfl, result = fcntl(f, F_SETFL, O_DIRECT)) \
    X(fcntl_dupfd, result = fcntl(f, F_DUPFD, 0)) \
    X(fcntl_setlk, result = fcntl(f, F_SETLK, &(struct flock){.l_type = F_WRLCK})) \
    X(fcntl_setlease, result = fcntl(f, F_SETLEASE, F_RDLCK)) \
    X(lockf, result = lockf(f, F_TLOCK, 1)) \
    X(fstat, result = fstat(f, &facts)) \
    X(mmap, map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0)) \
    X(mmap_fixed, map = map ? mmap(map, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, f, 0) : map) \
    X(mmap_readable, map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, f, 0)) \
    X(munmap, result = map ? munmap(map, PAGE) : 0) \
    X(mprotect, result = map ? mprotect(map, PAGE, PROT_READ) : 0) \
    X(mprotect_writable, result = map ? mprotect(map, PAGE, PROT_READ | PROT_WRITE) : 0) \
    X(pkey_mprotect, result = map ? pkey_mprotect(map, PAGE, PROT_READ, -1) : 0) \
    X(mremap, map = map ? mremap(map, PAGE, 2 * PAGE, MREMAP_MAYMOVE) : map) \
    X(mremap_copy, map = map ? mremap(map, 0, PAGE, MREMAP_MAYMOVE) : map) \
    X(remap_file_pages, result = map ? remap_file_pages(map, PAGE, 0, 0, 0) : 0) \
    X(madvise, result = map ? madvise(map, PAGE, MADV_REMOVE) : 0) \
    X(process_madvise, one = (struct iovec){map ? map : page, PAGE}; \
      OPTIONAL(process_madvise, self_by_number, &one, 1L, MADV_REMOVE, 0)) \
    X(msync, result = map ? msync(map, PAGE, MS_SYNC) : 0) \
    X(copy_file_range, result = copy_file_range(f, &at, b, &at, PAGE, 0)) \
    X(sendfile, result = sendfile(b, f, &at, PAGE)) \
    X(splice, result = splice(f, &at, pipes[1], NULL, PAGE, 0)) \
    X(splice_in, splice(f, &at, pipes[1], NULL, PAGE, 0); result = splice(pipes[0], NULL, b, &at, PAGE, SPLICE_F_NONBLOCK)) \
    X(ioctl, result = ioctl(f, FICLONE, b)) \
    X(ioctl_range, struct file_clone_range range = {b, 0, PAGE, SIZE}; result = ioctl(f, FICLONERANGE, &range)) \
    X(ioctl_dedupe, one_file.info.dest_fd = b; result = ioctl(f, FIDEDUPERANGE, &one_file)) \
    X(aio_read, block.aio_fildes = f; result = aio_read(&block)) \
    X(aio_write, block.aio_fildes = f; result = aio_write(&block)) \
    X(aio_fsync, block.aio_fildes = f; result = aio_fsync(O_SYNC, &block)) \
    X(dlopen, result = (long)dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD)) \
    X(dlmopen, result = (long)dlmopen(LM_ID_BASE, "libc.so.6", RTLD_NOW | RTLD_NOLOAD)) \
    X(lio_listio, block.aio_fildes = f; block.aio_lio_opcode = LIO_NOP; result = lio_listio(LIO_WAIT, blocks, 1, NULL)) \
    X(io_submit, result = submit(IOCB_CMD_PWRITE)) \
    X(io_submit_read, result = submit(IOCB_CMD_PREAD)) \
    X(io_submit_vector, result = submit(IOCB_CMD_PWRITEV)) \
    X(io_submit_elsewhere, OPTIONAL(io_submit, 0, 1, blocks)) \
    X(io_getevents, result = take()) \
    X(process_vm_writev, result = process_vm_writev(self, &one, 1, &one, 1, 0)) \
    X(fopen, result = (long)fopen(name, "w")) \
    X(fopen_readable, result = (long)fopen(name, "r")) \
    X(fdopen, result = (long)fdopen(f, "r")) \
    X(freopen, result = (long)freopen(name, "w", stdin)) \
    X(dprintf, result = dprintf(f, "%d %f", 1, 2.0)) \
    X(vdprintf, result = listed(f, "%d", 1)) \
    X(backtrace_symbols_fd, backtrace_symbols_fd((void *[]){main_of_ours}, 1, f)) \
    X(setmntent, result = (long)setmntent(name, "r")) \
    X(dup2_standard, result = dup2(f, 0)) \
    X(sendmsg, message_with(f); result = sendmsg(pairs[0], &message, 0)) \
    X(recvmsg, result = recvmsg(pairs[1], &message, 0)) \
    X(sendmmsg, message_with(f); result = sendmmsg(pairs[0], messages, 1, 0)) \
    X(recvmmsg, result = recvmmsg(pairs[1], messages, 1, 0, NULL)) \
    X(syscall_read, result = syscall(SYS_read, f, page, PAGE)) \
    X(syscall_pwritev2, result = syscall(SYS_pwritev2, f, iov, VECTORS, 0, 0, 0)) \
    X(syscall_openat, result = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_TRUNC)) \
    X(syscall_mmap, map = (char *)syscall(SYS_mmap, NULL, PAGE, PROT_WRITE, MAP_SHARED, f, 0)) \
    X(syscall_ftruncate, result = syscall(SYS_ftruncate, f, PAGE)) \
    X(syscall_openat2, result = syscall(SYS_openat2, AT_FDCWD, name, &truncating, sizeof truncating)) \
    X(syscall_truncate, result = syscall(SYS_truncate, name, PAGE)) \
    X(syscall_fallocate, result = syscall(SYS_fallocate, f, 0, SIZE, PAGE)) \
    X(syscall_fsync, result = syscall(SYS_fsync, f)) \
    X(syscall_mremap, map = (char *)syscall(SYS_mremap, map, PAGE, PAGE, 0, 0)) \
    X(syscall_fcntl, result = syscall(SYS_fcntl, f, F_SETFL, O_DIRECT)) \
    X(syscall_dup3, result = syscall(SYS_dup3, f, 900, 0)) \
    X(syscall_close_range, result = syscall(SYS_close_range, f, f, 0)) \
    X(syscall_close, result = syscall(SYS_close, f)) \
    X(fork, child = fork(); reap(child)) \
    X(_Fork, child = _Fork(); reap(child)) \
    X(syscall_clone, child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); reap(child); if (!child) result = pread(f, page, PAGE, 0)) \
    X(vfork, child = vfork(); if (!child) _exit(0); reap(child)) \
    X(vfork_execve, child = vfork(); if (!child) execve("/bin/true", argv, own_env); reap(child)) \
    X(posix_spawn, posix_spawn(&child, "/bin/true", NULL, NULL, argv, own_env); reap(child)) \
    X(posix_spawnp, posix_spawnp(&child, "true", NULL, NULL, argv, own_env); reap(child)) \
    X(execve, result = execve("/nowhere", argv, own_env)) \
    X(execveat, result = execveat(AT_FDCWD, "/nowhere", argv, own_env, 0)) \
    X(fexecve, result = fexecve(f, argv, own_env)) \
    X(execv, result = execv("/nowhere", argv)) \
    X(execvp, result = execvp("nowhere", argv)) \
    X(execvpe, result = execvpe("nowhere", argv, own_env)) \
    X(execl, result = execl("/nowhere", "a", "b", NULL)) \
    X(execlp, result = execlp("nowhere", "a", "b", NULL)) \
    X(execle, result = execle("/nowhere", "a", "b", NULL, own_env)) \
    X(syscall_execve, result = syscall(SYS_execve, "/nowhere", argv, own_env))

// Calls for which one situation is enough: they make numbers, or have nothing to do with a file.
static void does_nothing(int number) {
    (void)number;
}

#define OTHERS(X) \
    X(longjmp, jmp_buf env; if (!setjmp(env)) longjmp(env, 1)) \
    X(_longjmp, jmp_buf env; if (!_setjmp(env)) _longjmp(env, 1)) \
    X(siglongjmp, sigjmp_buf env; if (!sigsetjmp(env, 1)) siglongjmp(env, 1)) \
    X(system, result = system("true")) \
    X(popen, result = (long)popen("true", "r")) \
    X(pclose, pclose(popen("true", "r"))) \
    X(tmpfile, result = (long)tmpfile()) \
    X(fclose, result = fclose(tmpfile())) \
    X(opendir, result = (long)opendir(".")) \
    X(closedir, result = closedir(opendir("."))) \
    X(mkstemp, result = mkstemp(fresh_template("aXXXXXX"))) \
    X(mkostemp, result = mkostemp(fresh_template("aXXXXXX"), 0)) \
    X(mkstemps, result = mkstemps(fresh_template("aXXXXXXb"), 1)) \
    X(mkostemps, result = mkostemps(fresh_template("aXXXXXXb"), 1, 0)) \
    X(shm_open, result = shm_open("/pagefence-none", O_RDONLY, 0)) \
    X(memfd_create, result = memfd_create("m", 0)) \
    X(socket, result = socket(AF_UNIX, SOCK_STREAM, 0)) \
    X(socketpair, result = socketpair(AF_UNIX, SOCK_STREAM, 0, pairs)) \
    X(pipe, result = pipe(pipes)) \
    X(pipe2, result = pipe2(pipes, 0)) \
    X(accept, result = accept(b, NULL, NULL)) \
    X(accept4, result = accept4(b, NULL, NULL, 0)) \
    X(eventfd, result = eventfd(0, 0)) \
    X(epoll_create, result = epoll_create(1)) \
    X(epoll_create1, result = epoll_create1(0)) \
    X(inotify_init, result = inotify_init()) \
    X(inotify_init1, result = inotify_init1(0)) \
    X(posix_openpt, result = posix_openpt(O_RDWR | O_NOCTTY)) \
    X(getpt, result = getpt()) \
    X(endmntent, result = endmntent(setmntent("/proc/mounts", "r"))) \
    X(openpty, result = openpty(&pairs[0], &pairs[1], NULL, NULL, NULL)) \
    X(forkpty, child = forkpty(&pairs[0], NULL, NULL, NULL); reap(child)) \
    X(login_tty, result = login_tty(-1)) \
    X(mq_open, result = mq_open("/pagefence-none", O_RDONLY)) \
    X(mq_close, result = mq_close(-1)) \
    X(wordexp, wordexp_t words; result = wordexp("$(true)", &words, 0)) \
    X(sigaction, struct sigaction action = {.sa_handler = does_nothing}; result = sigaction(SIGUSR2, &action, NULL)) \
    X(signal, result = signal(SIGUSR2, does_nothing) == SIG_ERR) \
    X(pthread_setcanceltype, result = pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL)) \
    X(timerfd_create, result = timerfd_create(CLOCK_MONOTONIC, 0)) \
    X(signalfd, sigset_t none; sigemptyset(&none); result = signalfd(-1, &none, 0)) \
    X(fanotify_init, result = fanotify_init(0, 0)) \
    X(pidfd_open, OPTIONAL(pidfd_open, self, 0)) \
    X(pidfd_getfd, OPTIONAL(pidfd_getfd, -1, 0, 0)) \
    X(open_by_handle_at, result = open_by_handle_at(-1, NULL, 0)) \
    X(closefrom, closefrom(900)) \
    X(io_setup, unsigned long other = 0; OPTIONAL(io_setup, 4, &other); OPTIONAL(io_destroy, other)) \
    X(io_destroy, OPTIONAL(io_destroy, 0UL)) \
    X(io_queue_init, unsigned long other = 0; OPTIONAL(io_queue_init, 4, &other); OPTIONAL(io_queue_release, other)) \
    X(io_queue_release, OPTIONAL(io_queue_release, 0UL)) \
    X(io_cancel, OPTIONAL(io_cancel, queue, requests[0], page)) \
    X(io_pgetevents, struct timespec none = {0, 0}; sigset_t set; sigemptyset(&set); \
      OPTIONAL(io_pgetevents, queue, 1L, 1L, page, &none, &set)) \
    X(eventfd_read, result = eventfd_read(eventfd(1, 0), (eventfd_t *)page)) \
    X(io_uring_queue_init, OPTIONAL(io_uring_queue_init, 1, page, 0)) \
    X(io_uring_setup, result = syscall(SYS_io_uring_setup, 0, NULL)) \
    X(daemon, child = fork(); if (!child) { result = daemon(1, 1); *in_child = painted_over(); _exit(0); } reap(child); \
      for (int i = 0; i < 1000 && !*in_child; i++) usleep(1000)) \
    X(pthread_atfork, result = pthread_atfork(NULL, NULL, NULL)) \
    X(clone, child = clone(cloned, cloned_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL); reap(child))

// Calls that change what the process may do: each in a child of its own.
#define RIGHTS(X) \
    X(setuid, result = setuid(0)) \
    X(setgid, result = setgid(0)) \
    X(seteuid, result = seteuid(0)) \
    X(setegid, result = setegid(0)) \
    X(setreuid, result = setreuid(0, 0)) \
    X(setregid, result = setregid(0, 0)) \
    X(setresuid, result = setresuid(0, 0, 0)) \
    X(setresgid, result = setresgid(0, 0, 0)) \
    X(setfsuid, result = setfsuid(0)) \
    X(setfsgid, result = setfsgid(0)) \
    X(setgroups, result = setgroups(0, NULL)) \
    X(initgroups, result = initgroups("root", 0)) \
    X(capset, OPTIONAL(capset, &capability_head, capabilities)) \
    X(setrlimit, result = setrlimit(RLIMIT_FSIZE, &limit)) \
    X(setrlimit64, result = setrlimit64(RLIMIT_FSIZE, &limit64)) \
    X(ulimit, result = ulimit(UL_SETFSIZE, 1l << 40)) \
    X(vlimit, OPTIONAL(vlimit, 3, 1 << 30)) \
    X(prlimit, result = prlimit(0, RLIMIT_FSIZE, &limit, NULL)) \
    X(prlimit64, result = prlimit64(0, RLIMIT_FSIZE, &limit64, NULL)) \
    X(chroot, result = chroot(".")) \
    X(pivot_root, OPTIONAL(pivot_root, "/nowhere", "/nowhere")) \
    X(unshare, result = unshare(CLONE_FS)) \
    X(setns, result = setns(-1, 0)) \
    X(umount, OPTIONAL(umount, "/nowhere")) \
    X(mlockall, result = mlockall(MCL_CURRENT)) \
    X(munlockall, result = munlockall()) \
    X(umount2, result = umount2("/nowhere", 0)) \
    X(prctl, result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &allow_all)) \
    X(syscall_seccomp, result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &allow_all))

static struct __user_cap_header_struct capability_head = {.version = _LINUX_CAPABILITY_VERSION_3};
static struct __user_cap_data_struct capabilities[2];
static struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static struct sock_fprog allow_all = {1, allow};

static int cloned(void *unused) {
    (void)unused;
    _exit(0);
}
static char *cloned_stack;

#define FUNCTION(call, ...) static void do_##call(void) { __VA_ARGS__; }
CALLS(FUNCTION)
OTHERS(FUNCTION)
RIGHTS(FUNCTION)
static void nothing(void) {}

struct call {
    const char *name;
    void (*act)(void);
};
#define ENTRY(call, ...) {#call, do_##call},
static const struct call calls[] = {CALLS(ENTRY)}, others[] = {OTHERS(ENTRY)}, rights[] = {RIGHTS(ENTRY)};

// ---- the situations: a file is open as `b` and directly as `d`

static int files_made;

static void both(void) {
    b = MUST(open(name, O_RDWR | O_CREAT, 0644));
    d = MUST(open(name, O_RDWR | O_DIRECT));
}

// Nothing is known of the file or its numbers.
static void first(void) {
    sprintf(name, "first-%d", files_made++);
    both();
}

static void write_both_ways(void) {
    pwrite(b, page, 2 * PAGE, 0);
    pwrite(d, page, PAGE, 0);
}

static void mixed(void) {
    sprintf(name, "mixed-%d", files_made++);
    both();
    write_both_ways();
}

static void mapped(void) {
    mixed();
    map = map_page(b, 0);
    map[0] = 'm';
}

static void mapped_unknown(void) {
    first();
    int other = MUST(open(name, O_RDWR));
    pwrite(other, page, PAGE, 0);
    map = map_page(other, 0);
    map[0] = 'm';
    close(other);
}

static void locked(void) {
    first();
    struct flock whole = {.l_type = F_WRLCK};
    MUST(fcntl(b, F_SETLK, &whole));
    write_both_ways();
}

static void locked_mapped(void) {
    locked();
    map = map_page(b, 0);
    map[0] = 'm';
}

// Others share the descriptions.
static void shared(void) {
    mixed();
    fflush(NULL);
    pid_t pid = MUST(fork());
    if (!pid)
        _exit(0);
    reap(pid);
}

// Somebody else holds all of it.
static void held(void) {
    strcpy(name, "held");
    both();
    write_both_ways();
}

static const struct situation {
    const char *name;
    void (*prepare)(void);
} situations[] = {
    {"first", first},   {"mixed", mixed},           {"mapped", mapped}, {"mapped_first", mapped_unknown},
    {"locked", locked}, {"mapped_locked", locked_mapped}, {"shared", shared}, {"held", held},
};

static size_t bare_minimum;

static void tell(const char *call, const char *situation, size_t bytes) {
    say("%s %s %zu", call, situation, bytes > bare_minimum ? bytes - bare_minimum : 0);
}

static int low;

// Numbers that a call made are closed again.
static void tidy(void) {
    if (map && map != MAP_FAILED)
        munmap(map, PAGE);
    map = NULL;
    close_range(low, 1000, 0);
}

static size_t larger(size_t a, size_t c) { return a > c ? a : c; }

static void measure(const struct call *call, const struct situation *situation, size_t *most, size_t *most_in_child) {
    for (int direct = 0; direct < 2; direct++) {
        situation->prepare();
        f = direct ? d : b;
        MUST(pipe(pipes));
        MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pairs));
        fcntl(pairs[1], F_SETFL, O_NONBLOCK);
        self_by_number = syscall(SYS_pidfd_open, self, 0);
        at = 0;
        size_t bytes = used(call->act);
        *most = larger(*most, bytes);
        *most_in_child = larger(*most_in_child, *in_child);
        while (block.aio_fildes && aio_error(&block) == EINPROGRESS)
            usleep(100);
        take_all();
        tidy();
    }
}

static void measure_all(const struct call *list, size_t count, const struct situation *situation) {
    for (size_t i = 0; i < count; i++) {
        size_t most = 0, child_most = 0;
        measure(&list[i], situation, &most, &child_most);
        tell(list[i].name, situation->name, larger(most, child_most));
    }
}

// ---- what isn't one call of the program's

// A thread uses the file both ways and ends: all that it needs.
static void *whole_thread(void *unused) {
    (void)unused;
    int fd = open(name, O_RDWR | O_CREAT | O_DIRECT, 0600), other = open(name, O_RDWR);
    pwrite(fd, page, PAGE, 0);
    pread(other, page, PAGE, 0);
    close(fd);
    close(other);
    return NULL;
}

static void measure_thread(void) {
    pthread_attr_t how;
    pthread_t thread;
    sprintf(name, "thread");
    paint();
    pthread_attr_init(&how);
    pthread_attr_setstack(&how, stack, ROOM);
    if (pthread_create(&thread, &how, whole_thread, NULL) || pthread_join(thread, NULL))
        abort();
    tell("pthread_exit", "thread", painted_over());
}

// A handler jumps out of a call that waits: the handler's stack is the painted one.
static sigjmp_buf out;

static void jump(int signal) {
    (void)signal;
    siglongjmp(out, 1);
}

static void measure_jump(void) {
    stack_t alternate = {.ss_sp = stack, .ss_size = ROOM}, none = {.ss_flags = SS_DISABLE};
    struct sigaction action = {.sa_handler = jump, .sa_flags = SA_ONSTACK};
    held();
    MUST(sigaltstack(&alternate, NULL));
    MUST(sigaction(SIGALRM, &action, NULL));
    paint();
    if (!sigsetjmp(out, 1)) {
        struct itimerval soon = {.it_value.tv_usec = 500};
        setitimer(ITIMER_REAL, &soon, NULL);
        for (;;)
            pwrite(d, page, PAGE, 0);
    }
    tell("siglongjmp", "out_of_a_call", painted_over());
    MUST(sigaltstack(&none, NULL));
    signal(SIGALRM, SIG_DFL);
    tidy();
}

// Somebody in another thread is in the file all the time.
static volatile int stop;
static pthread_t busy_thread;

static void *busy(void *from) {
    char *much = filled(1024 * 1024, 'b');
    while (!stop)
        pwrite(d, much, 1024 * 1024, *(off_t *)from);
    free(much);
    return NULL;
}

static void begin_busy(off_t *from) {
    stop = 0;
    if (pthread_create(&busy_thread, NULL, busy, from))
        abort();
}

static void end_busy(void) {
    stop = 1;
    pthread_join(busy_thread, NULL);
}

static void measure_waiting(void) {
    size_t reading = 0, writing = 0;
    off_t here = 0;
    mixed();
    f = b;
    begin_busy(&here);
    for (int i = 0; i < 300; i++) {
        reading = larger(reading, used(do_pread));
        writing = larger(writing, used(do_pwrite));
    }
    end_busy();
    tell("pread", "waiting", reading);
    tell("pwrite", "waiting", writing);
    tidy();
}

static size_t repairing(off_t size, void (*write)(void)) {
    size_t most = 0;
    for (double end = now() + 1.0; now() < end;) {
        MUST(ftruncate(b, size));
        most = larger(most, used(write));
    }
    return most;
}

// A program that isn't fenced dirties pages under direct writes, so that some can't be dropped. Then the rest of the
// unit is held as well: by the call itself where it makes the file longer, and otherwise somebody may be in it.
static void measure_repair(const char *self_path) {
    off_t beside = SIZE / 4;
    mixed();
    fflush(NULL);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        unsetenv("LD_PRELOAD");
        execl(self_path, self_path, "dirty", name, NULL);
        _exit(99);
    }
    f = d;
    tell("pwritev", "repaired", repairing(PAGE, do_pwritev));
    tell("io_getevents", "repaired", repairing(PAGE, do_io_getevents));
    begin_busy(&beside);
    tell("pwritev", "repaired_beside", repairing(SIZE, do_pwritev));
    tell("io_getevents", "repaired_beside", repairing(SIZE, do_io_getevents));
    end_busy();
    kill(pid, SIGKILL);
    reap(pid);
    tidy();
}

__attribute__((noreturn)) static void dirty(const char *path) {
    int fd = MUST(open(path, O_RDWR));
    volatile char *bytes = map_page(fd, 0);
    for (;;)
        bytes[0]++;
}

// No number is left: ours are given up, or none can be made.
static void measure_without_numbers(void) {
    mixed();
    int last = 0;
    for (int fd; (fd = dup(1)) >= 0; last = fd)
        continue;
    tell("open", "no_number", used(do_open));
    f = d;
    tell("pwrite", "no_number", used(do_pwrite));
    for (int fd = last; fd > d; fd--)
        close(fd);
    tidy();
}

static void measure_in_child(const struct call *call) {
    mixed();
    fflush(NULL);
    *in_child = 0;
    pid_t pid = MUST(fork());
    if (pid == 0) {
        self = syscall(SYS_getpid);
        syscall(SYS_capget, &capability_head, capabilities);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        *in_child = used(call->act);
        _exit(0);
    }
    reap(pid);
    tell(call->name, "mixed", *in_child);
    tidy();
}

static void measure_beside(void) {
    for (size_t i = 0; i < sizeof rights / sizeof *rights; i++)
        measure_in_child(&rights[i]);
    measure_all(others, sizeof others / sizeof *others, &situations[1]);
    measure_thread();
    measure_jump();
    measure_waiting();
    measure_without_numbers();
    measure_repair("/proc/self/exe");
}

// DIR [SITUATION]...: all, or only these.
int main(int argc, char **args) {
    if (!strcmp(args[1], "dirty"))
        dirty(args[2]);
    MUST(chdir(args[1]));
    self = getpid();
    find_elsewhere();
    stack = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    in_child = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cloned_stack = filled(65536, 0) + 65536;
    page = filled(VECTORS * PAGE, 'p');
    for (int i = 0; i < VECTORS; i++)
        iov[i] = (struct iovec){page + i * PAGE, PAGE};
    block = (struct aiocb){.aio_buf = page, .aio_nbytes = PAGE};
    block.aio_sigevent.sigev_notify = SIGEV_NONE;
    low = MUST(dup(2));
    tidy();
    OPTIONAL(io_setup, 64, &queue);
    bare_minimum = used(nothing);
    for (size_t s = 0; s < sizeof situations / sizeof *situations; s++)
        for (int i = 2; i <= argc; i++)
            if (argc == 2 || (args[i] && !strcmp(args[i], situations[s].name)))
                measure_all(calls, sizeof calls / sizeof *calls, &situations[s]);
    if (argc == 2)
        measure_beside();
    return 0;
}
