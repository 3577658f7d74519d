//! A process is traced as a whole: the threads that it has and those that it starts, what the kernel does for it on
//! threads of its own, and what it starts.

mod support;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use arenaq_harness::pinned::unpin;
use arenaq_harness::{Config, Hook, Kernel, QueueKind};
use io_uring::{IoUring, opcode, squeue, types};
use support::bpffs::{Bpffs, text};
use support::{Outcome, arenaq, ext4_folder, kernel_with, number, skip};

/// Calls of each thread, of a system call that nobody else here makes.
const CALLS: u64 = 100;

fn call() {
    for _ in 0..CALLS {
        // What is traced is the call; the C library may not answer it from memory.
        let _ = std::hint::black_box(rustix::process::getppid());
    }
}

fn getppid() -> Config {
    Config {
        queue: QueueKind::Mpsc,
        hook: Hook::SysEnter,
        syscall: libc::SYS_getppid,
        capacity: 1 << 12,
        ..Config::default()
    }
}

/// Runs `with_threads` while two threads of this process wait, which call when it has returned, and start
/// another thread each, which calls too. Returns how many calls that makes.
fn around_threads(with_threads: impl FnOnce(u32)) -> u64 {
    let barrier = Barrier::new(3);
    let (tell, told) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (barrier, tell) = (&barrier, tell.clone());
            scope.spawn(move || {
                tell.send(rustix::thread::gettid().as_raw_pid().unsigned_abs()).expect("it is waited for");
                barrier.wait();
                call();
                thread::scope(|later| later.spawn(call).join()).expect("it calls");
            });
        }
        let first = told.recv().expect("a thread's id");
        told.recv().expect("both threads are there");
        with_threads(first);
        barrier.wait();
    });
    4 * CALLS
}

#[test]
fn a_process_is_traced_with_the_threads_that_it_has_and_those_that_it_starts() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "threads") else { return };
    for attach_first in [true, false] {
        let loaded = Kernel::load(&getppid()).expect("the kernel can run it");
        let calls = around_threads(|_| {
            if attach_first {
                loaded.attach().expect("the hook is allowed");
            }
            let process = loaded.trace(std::process::id()).expect("it is there");
            assert_eq!(process, std::process::id());
            if !attach_first {
                loaded.attach().expect("the hook is allowed");
            }
        });
        loaded.detach().expect("the counters are there");
        assert_eq!(loaded.counters().expect("the map is there").produced, calls);
    }
}

#[test]
fn pinning_traces_the_whole_process_of_a_thread_and_says_so() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "a thread's id") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let calls = around_threads(|thread| {
        let number = libc::SYS_getppid.to_string();
        let arguments = ["pin", text(&folder), "--hook", "sys-enter", "--syscall", &number];
        let outcome = Outcome::of(arenaq(&arguments).args(["--trace", &thread.to_string()]));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let said = format!("{thread} is a thread of process {}", std::process::id());
        assert!(outcome.stderr.contains(&said), "{outcome:?}");
    });
    let consumed = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
    unpin(&folder).expect("it is pinned");
    assert_eq!(number(&consumed.json(), "consumed"), calls);
}

/// Of a thread that becomes the leader of its process, by exec, the leader's mark is gone.
#[test]
fn a_thread_that_starts_a_program_stays_traced() {
    let Some(_guard) = kernel_with(Hook::Exec, "exec by a thread") else { return };
    let config = Config { hook: Hook::Exec, capacity: 64, ..Config::default() };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    let script = "import os, threading\n\
        go, here = threading.Event(), threading.Event()\n\
        def run():\n    here.set(); go.wait(); os.execv('/bin/sh', ['sh', '-c', ':; exec /bin/true'])\n\
        threading.Thread(target=run).start(); here.wait()\n\
        print('ready', flush=True); input(); go.set()";
    let mut python = match std::process::Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    {
        Ok(python) => python,
        Err(error) => return skip("exec by a thread", &format!("python3: {error}")),
    };
    let mut ready = [0; 6];
    std::io::Read::read_exact(python.stdout.as_mut().expect("a pipe"), &mut ready).expect("it says so");
    loaded.trace(python.id()).expect("it is there");
    loaded.attach().expect("the hook is allowed");
    std::io::Write::write_all(python.stdin.as_mut().expect("a pipe"), b"\n").expect("it listens");
    assert!(python.wait().expect("our child").success());
    loaded.detach().expect("the counters are there");
    assert_eq!(loaded.counters().expect("the map is there").produced, 2, "sh, and then true");
}

#[test]
fn files_that_io_uring_creates_on_its_own_threads_are_events_of_the_process() {
    const FILES: u64 = 100;
    let Some(_guard) = kernel_with(Hook::ExtCreate, "io_uring") else { return };
    let Some(folder) = ext4_folder("io_uring") else { return };
    let mut ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => return skip("io_uring", &format!("this kernel gives no ring: {error}")),
    };
    let config = Config { hook: Hook::ExtCreate, capacity: 1 << 10, ..Config::default() };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    // Created, and so are io_uring's workers, before and after the process is traced.
    create(&mut ring, folder.path(), 0..FILES);
    loaded.trace(std::process::id()).expect("it is there");
    loaded.attach().expect("the hook is allowed");
    create(&mut ring, folder.path(), FILES..2 * FILES);
    let mut fresh = IoUring::new(8).expect("as before");
    create(&mut fresh, folder.path(), 2 * FILES..3 * FILES);
    loaded.detach().expect("the counters are there");
    assert_eq!(loaded.counters().expect("the map is there").produced, 2 * FILES);
}

/// Creates files, each by a worker of the ring.
fn create(ring: &mut IoUring, folder: &Path, files: std::ops::Range<u64>) {
    let folder = fs::File::open(folder).expect("it is there");
    for file in files {
        let name = std::ffi::CString::new(file.to_string()).expect("no null byte");
        let open = opcode::OpenAt::new(types::Fd(folder.as_raw_fd()), name.as_ptr())
            .flags(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY)
            .mode(0o600)
            .build()
            .flags(squeue::Flags::ASYNC);
        // SAFETY: the name and the folder live until the operation is complete, which is waited for below.
        unsafe { ring.submission().push(&open) }.expect("the ring is empty");
        ring.submit_and_wait(1).expect("the kernel takes it");
        let opened = ring.completion().next().expect("it is complete").result();
        assert!(opened >= 0, "{}", std::io::Error::from_raw_os_error(-opened));
        // SAFETY: the kernel has just made this descriptor for us.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(opened) });
    }
}
