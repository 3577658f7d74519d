//! Which system calls can fail with which of the four errors. A call that is in neither table is an error of this command: somebody
//! has to decide.

/// The errors that are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Error {
    /// The process has as many files open as it may.
    Emfile,
    /// The kernel has no memory.
    Enomem,
    /// A policy or a privilege forbids it.
    Eperm,
    /// A signal came first.
    Eintr,
}

use Error::{Eintr, Emfile, Enomem, Eperm};

impl Error {
    /// As strace takes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Emfile => "EMFILE",
            Enomem => "ENOMEM",
            Eperm => "EPERM",
            Eintr => "EINTR",
        }
    }

    /// As a message tells it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Emfile => "Too many open files",
            Enomem => "Cannot allocate memory",
            Eperm => "Operation not permitted",
            Eintr => "Interrupted system call",
        }
    }
}

/// A call that can fail.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) errors: &'static [Error],
    /// Only calls in whose arguments this stands; every one if empty.
    pub(crate) only: &'static str,
    pub(crate) why: &'static str,
}

const fn call(name: &'static str, errors: &'static [Error], why: &'static str) -> Call {
    Call { name, errors, only: "", why }
}

/// From the manual pages (section 2), and where they are silent from the kernel's source.
pub(crate) const FAILING: &[Call] = &[
    // Files.
    call("openat", &[Emfile, Enomem, Eperm, Eintr], "open(2)"),
    call(
        "read",
        &[Enomem, Eperm, Eintr],
        "read(2); ENOMEM from seq_file, EPERM from /proc and from security modules",
    ),
    call("pread64", &[Enomem, Eperm, Eintr], "as read"),
    call("write", &[Enomem, Eperm, Eintr], "write(2); ENOMEM from pipes"),
    call("fstat", &[Enomem], "stat(2)"),
    call("newfstatat", &[Enomem], "stat(2)"),
    call("statx", &[Enomem], "statx(2)"),
    call("statfs", &[Enomem, Eintr], "statfs(2)"),
    call("fstatfs", &[Enomem, Eintr], "statfs(2)"),
    call("access", &[Enomem, Eperm], "access(2)"),
    call("faccessat2", &[Enomem, Eperm], "access(2)"),
    call("readlink", &[Enomem], "readlink(2)"),
    call("readlinkat", &[Enomem], "readlink(2)"),
    call("getcwd", &[Enomem], "getcwd(2)"),
    call(
        "getdents64",
        &[Enomem, Eintr],
        "iterate_dir() takes the folder's lock unless a signal comes, and file systems allocate",
    ),
    call("mkdir", &[Enomem, Eperm], "mkdir(2)"),
    call("mkdirat", &[Enomem, Eperm], "mkdir(2)"),
    call("chmod", &[Enomem, Eperm], "chmod(2)"),
    call("fchmod", &[Enomem, Eperm], "chmod(2)"),
    call("fchmodat", &[Enomem, Eperm], "chmod(2)"),
    call("unlink", &[Enomem, Eperm], "unlink(2)"),
    call("unlinkat", &[Enomem, Eperm], "unlink(2)"),
    call("rmdir", &[Enomem, Eperm], "rmdir(2)"),
    call("flock", &[Enomem, Eintr], "flock(2); ENOMEM where the lock is allocated"),
    Call {
        name: "fcntl",
        errors: &[Emfile],
        only: "F_DUPFD",
        why: "fcntl(2): only F_DUPFD makes a descriptor",
    },
    call("dup", &[Emfile], "dup(2)"),
    call("dup2", &[Emfile, Eintr], "dup(2)"),
    call("dup3", &[Emfile, Eintr], "dup(2)"),
    call("pipe2", &[Emfile, Enomem], "pipe(2); ENOMEM where the inode is allocated"),
    call("socketpair", &[Emfile, Enomem], "socketpair(2)"),
    call("memfd_create", &[Emfile, Enomem], "memfd_create(2)"),
    call("eventfd2", &[Emfile, Enomem], "eventfd(2)"),
    call("timerfd_create", &[Emfile, Enomem], "timerfd_create(2)"),
    call("signalfd4", &[Emfile, Enomem], "signalfd(2)"),
    call("recvfrom", &[Eintr], "recv(2): ENOMEM is recvmsg's"),
    call("recvmsg", &[Enomem, Eintr], "recv(2)"),
    call("sendto", &[Enomem, Eintr], "send(2)"),
    call("sendmsg", &[Enomem, Eintr], "send(2)"),
    // Memory.
    call("mmap", &[Enomem, Eperm], "mmap(2)"),
    call("mprotect", &[Enomem], "mprotect(2)"),
    call("mremap", &[Enomem], "mremap(2)"),
    call("munmap", &[Enomem], "munmap(2): a mapping that is split"),
    call("madvise", &[Enomem, Eperm], "madvise(2)"),
    // Processes and threads.
    call("clone", &[Enomem, Eperm], "clone(2)"),
    call("clone3", &[Enomem, Eperm], "clone(2)"),
    call("vfork", &[Enomem, Eperm], "fork(2)"),
    call("execve", &[Emfile, Enomem, Eperm], "execve(2)"),
    call("wait4", &[Eintr], "wait(2)"),
    call("waitid", &[Eintr], "wait(2)"),
    call("kill", &[Eperm], "kill(2)"),
    call("tgkill", &[Eperm], "kill(2)"),
    call("pidfd_open", &[Emfile, Enomem], "pidfd_open(2)"),
    call("pidfd_send_signal", &[Eperm], "pidfd_send_signal(2)"),
    Call {
        name: "prlimit64",
        errors: &[Eperm],
        only: ", NULL) = ",
        why: "getrlimit(2): a limit that is raised; to read one's own cannot fail",
    },
    call("sched_getaffinity", &[Enomem], "the kernel allocates the mask"),
    call("sigaltstack", &[Enomem, Eperm], "sigaltstack(2)"),
    Call {
        name: "prctl",
        errors: &[Eperm],
        only: "PR_CAP_AMBIENT",
        why: "prctl(2): the other operations that arenaq uses cannot",
    },
    // Waiting.
    call("epoll_create1", &[Emfile, Enomem], "epoll_create(2)"),
    call("epoll_ctl", &[Enomem, Eperm], "epoll_ctl(2)"),
    call("epoll_wait", &[Eintr], "epoll_wait(2)"),
    call("epoll_pwait", &[Eintr], "epoll_wait(2)"),
    call("poll", &[Enomem, Eintr], "poll(2)"),
    call("ppoll", &[Enomem, Eintr], "poll(2)"),
    call("clock_nanosleep", &[Eintr], "clock_nanosleep(2)"),
    call("membarrier", &[Eperm], "membarrier(2)"),
    // BPF.
    call(
        "bpf",
        &[Emfile, Enomem, Eperm, Eintr],
        "bpf(2); EINTR from BPF_PROG_TEST_RUN and where trampolines are waited for",
    ),
    call("perf_event_open", &[Emfile, Enomem, Eperm, Eintr], "perf_event_open(2)"),
    Call {
        name: "ioctl",
        errors: &[Enomem, Eperm],
        only: "PERF_EVENT_IOC",
        why: "perf_event_set_bpf_prog() allocates and asks for privileges",
    },
];

/// What is not made to fail, and why.
pub(crate) const LEFT_ALONE: &[(&str, &str)] = &[
    ("arch_prctl", "the start-up of every thread; none of the four"),
    ("brk", "it returns the old end of the heap, no error"),
    ("capget", "none of the four for the caller itself"),
    ("clock_getres", "none of the four"),
    ("clock_gettime", "none of the four; a call at all only where the vDSO cannot read the clock"),
    (
        "close",
        "Linux has released the descriptor even when it says EINTR; strace would leave it open, which no kernel does",
    ),
    ("exit", "it does not return"),
    ("exit_group", "it does not return"),
    (
        "futex",
        "EINTR of a wait is a wake-up without reason; a wake-up that strace does not let through is lost, which no kernel does",
    ),
    ("getcpu", "none of the four"),
    ("getegid", "it cannot fail"),
    ("geteuid", "it cannot fail"),
    ("getgid", "it cannot fail"),
    ("getpgid", "none of the four for the caller itself"),
    ("getpid", "it cannot fail"),
    ("getppid", "it cannot fail"),
    ("getrandom", "EINTR only before the kernel has its first entropy, or for more than 256 bytes"),
    ("gettid", "it cannot fail"),
    ("getuid", "it cannot fail"),
    ("lseek", "none of the four"),
    ("restart_syscall", "the kernel's own way to go on"),
    ("rseq", "the start-up of every thread; EPERM only for a wrong signature"),
    ("rt_sigaction", "none of the four"),
    ("rt_sigprocmask", "none of the four"),
    ("rt_sigreturn", "it does not return"),
    ("rt_sigtimedwait", "nobody waits for signals so"),
    ("sched_yield", "it cannot fail"),
    ("set_robust_list", "none of the four"),
    ("set_tid_address", "it cannot fail"),
    ("setpgid", "EPERM only for another's process group"),
    ("sysinfo", "none of the four"),
    ("uname", "none of the four"),
];

/// The errors of one call, by its name and what strace shows of its arguments.
pub(crate) fn errors(name: &str, arguments: &str) -> anyhow::Result<&'static [Error]> {
    let all = FAILING.iter().find(|call| call.name == name);
    if let Some(call) = all {
        return Ok(if arguments.contains(call.only) { call.errors } else { &[] });
    }
    if LEFT_ALONE.iter().any(|(left, _)| *left == name) {
        return Ok(&[]);
    }
    anyhow::bail!(
        "arenaq makes the system call {name}, of which xtask/src/faults/calls.rs does not say whether it can fail: add it there"
    )
}

#[cfg(test)]
mod tests {
    use super::{Error, FAILING, LEFT_ALONE, errors};

    #[test]
    fn a_call_is_in_one_table_once() {
        let mut names: Vec<_> = FAILING.iter().map(|call| call.name).collect();
        names.extend(LEFT_ALONE.iter().map(|(name, _)| *name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_arguments_decide_where_only_some_calls_can_fail() {
        let of = |name, arguments| errors(name, arguments).expect("it is in a table");
        assert_eq!(of("fcntl", "(3, F_DUPFD_CLOEXEC, 3) = 4"), [Error::Emfile]);
        assert_eq!(of("fcntl", "(3, F_GETFD) = 0"), []);
        assert_eq!(of("close", "(3) = 0"), []);
        let unknown = errors("mount", "()").expect_err("nobody has decided");
        assert!(unknown.to_string().contains("system call mount"), "{unknown}");
    }
}
