//! Receivers of the queues that an object declares: bpf/tests/typed.bpf.c. They go to threads, tasks and other processes.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::PopError;
use arenaq::bytemuck::{Pod, Zeroable, from_bytes};
use arenaq::payload::Element;
use arenaq_harness::Instructions;
use arenaq_harness::pinned::{Wait, unpin};
use arenaq_libbpf::pinned::Pinned;
use arenaq_libbpf::{Error, Loaded, Queues, Receiver, Wake, choose, program};
use libbpf_rs::{Object, ObjectBuilder, OpenObject};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::bpffs::Bpffs;
use support::kernel;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Event {
    number: u64,
    pid: u32,
    tid: u32,
    comm: [u8; 16],
}
arenaq::element!(Event { number, pid, tid, comm });

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Open {
    number: u64,
    file: [[u8; 37]; 8],
}
arenaq::element!(Open { number, file });

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Job {
    number: u64,
}
arenaq::element!(Job { number });

/// An element that has a number.
trait Numbered: Element + Send {
    const QUEUE: &'static str;
    /// What the program calls it.
    const NUMBER: u64;
    /// Its number, if all of it is as it was pushed.
    fn number(&self) -> u64;
}

impl Numbered for Event {
    const QUEUE: &'static str = "events";
    const NUMBER: u64 = 0;

    fn number(&self) -> u64 {
        assert_eq!(self.pid, std::process::id());
        self.number
    }
}

impl Numbered for Open {
    const QUEUE: &'static str = "opens";
    const NUMBER: u64 = 1;

    fn number(&self) -> u64 {
        let file = self.file.as_flattened();
        assert_eq!((u64::from(file[0] - b'a'), file[295]), (self.number & 15, b'z'));
        self.number
    }
}

impl Numbered for Job {
    const QUEUE: &'static str = "jobs";
    const NUMBER: u64 = 2;

    fn number(&self) -> u64 {
        self.number
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
struct Push {
    queue: u64,
    first: u64,
    count: u64,
    pushed: u64,
}

/// The system call for which the attached program pushes.
const SYSCALL: libc::c_long = libc::SYS_getppid;

fn open() -> OpenObject {
    let object: &[u8] = match choose(None).expect("the kernel takes one of them") {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_TYPED_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_TYPED_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_TYPED_FULL_BARRIER")),
    };
    let mut open = ObjectBuilder::default().open_memory(object).expect("it was compiled");
    for mut map in open.maps_mut().filter(|map| map.name().to_string_lossy().ends_with(".rodata")) {
        let constants = [u64::from(std::process::id()), SYSCALL as u64];
        map.set_initial_value(arenaq::bytemuck::bytes_of(&constants)).expect("two constants");
    }
    open
}

fn loaded() -> Loaded {
    Loaded::load(open()).unwrap_or_else(|error| panic!("{error}"))
}

/// Pushes elements from the kernel, with the numbers from `first` on. Returns how many found room.
fn push_with(object: &Object, name: &str, (queue, first, count): (u64, u64, u64)) -> u64 {
    let mut context = Push { queue, first, count, pushed: 0 };
    program::run(object, name, &mut context).expect("the program runs");
    context.pushed
}

fn push<T: Numbered>(object: &Object, first: u64, count: u64) {
    assert_eq!(push_with(object, "push", (T::NUMBER, first, count)), count, "{}: there is room", T::QUEUE);
}

/// The same beside a consumer, which may be slower.
fn push_when_there_is_room<T: Numbered>(object: &Object, first: u64, count: u64) {
    let mut pushed = 0;
    support::wait_for("room", || {
        pushed += push_with(object, "push", (T::NUMBER, first + pushed, count - pushed));
        pushed == count
    });
}

/// Longer than anything here takes, and never waited for.
const LOST: Duration = Duration::from_secs(30);

/// Only a ring ends a sleep.
const ONLY_RUNG: Wake = Wake::Notified { at_most: Duration::MAX };

fn next<T: Numbered, K>(receiver: &mut Receiver<T, K>) -> u64 {
    receiver.recv_timeout(LOST).expect("a sound queue").expect("an element").number()
}

/// Whether a file descriptor is readable within so long.
fn readable(fd: &impl AsFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = Timespec::try_from(within).expect("a short time");
    poll(&mut fds, Some(&timeout)).expect("an epoll instance") == 1
}

#[test]
fn receivers_of_three_types_go_to_threads_and_outlive_what_handed_them_out() {
    const EACH: u64 = 500;
    fn consumer<T: Numbered>(loaded: &Loaded) -> thread::JoinHandle<Receiver<T>> {
        let mut receiver = loaded.receiver::<T>(T::QUEUE).expect("nobody else consumes");
        thread::spawn(move || {
            for number in 0..EACH {
                assert_eq!(next(&mut receiver), number, "{}", T::QUEUE);
            }
            receiver
        })
    }
    let Some(_guard) = kernel("typed receivers") else { return };
    let loaded = loaded();
    let consumers = (consumer::<Event>(&loaded), consumer::<Open>(&loaded), consumer::<Job>(&loaded));
    for first in (0..EACH).step_by(10) {
        push_when_there_is_room::<Event>(loaded.object(), first, 10);
        push_when_there_is_room::<Open>(loaded.object(), first, 10);
        push_when_there_is_room::<Job>(loaded.object(), first, 10);
    }
    let mut jobs = consumers.2.join().expect("each in its order");
    consumers.1.join().expect("each in its order");
    consumers.0.join().expect("each in its order");
    push::<Job>(loaded.object(), 7, 1);
    drop(loaded);
    assert_eq!(next(&mut jobs), 7, "the object is loaded still");
}

#[test]
fn no_wakeup_of_a_typed_queue_is_lost_whenever_the_push_comes() {
    fn wait_for_each<T: Numbered>(loaded: &Loaded) {
        const EVENTS: u64 = 2_000;
        let mut receiver = loaded.receiver::<T>(T::QUEUE).expect("nobody else consumes");
        receiver.set_wake(ONLY_RUNG);
        let consumer = thread::spawn(move || {
            let start = Instant::now();
            for number in 0..EVENTS {
                assert_eq!(next(&mut receiver), number, "{}, after {:?}", T::QUEUE, start.elapsed());
            }
        });
        for number in 0..EVENTS {
            // From no time at all to long enough for the consumer to fall asleep.
            thread::sleep(Duration::from_micros(fastrand::u64(0..200)));
            push_when_there_is_room::<T>(loaded.object(), number, 1);
        }
        consumer.join().expect("each has woken it");
    }
    let Some(_guard) = kernel("typed wakeups") else { return };
    let loaded = loaded();
    wait_for_each::<Event>(&loaded);
    wait_for_each::<Job>(&loaded);
}

#[test]
fn idle_receivers_use_no_cpu_while_another_queue_is_busy() {
    fn idle<T: Numbered>(loaded: &Loaded) -> thread::JoinHandle<Duration> {
        let mut receiver = loaded.receiver::<T>(T::QUEUE).expect("nobody else consumes");
        thread::spawn(move || {
            let nothing = receiver.recv_timeout(Duration::from_secs(2)).expect("a sound queue");
            assert_eq!(nothing.map(|element| element.number()), None);
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::try_from(used).expect("some time")
        })
    }
    let Some(_guard) = kernel("idle receivers") else { return };
    let loaded = loaded();
    let idle = [idle::<Event>(&loaded), idle::<Open>(&loaded)];
    let mut jobs = loaded.receiver::<Job>(Job::QUEUE).expect("nobody else consumes");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        push::<Job>(loaded.object(), 1, 20);
        for number in 1..21 {
            assert_eq!(next(&mut jobs), number);
        }
        thread::sleep(Duration::from_millis(1));
    }
    for idle in idle {
        let used = idle.join().expect("nothing came");
        assert!(used < Duration::from_millis(200), "{used:?} of the processor in two seconds");
    }
}

#[test]
fn every_nth_push_rings_and_fewer_are_found_in_time() {
    let Some(_guard) = kernel("every n-th") else { return };
    let loaded = loaded();
    let mut receiver = loaded.receiver::<Event>("events").expect("nobody else consumes");
    let push = |first, count| push_with(loaded.object(), "push_eight", (0, first, count));
    receiver.set_wake(ONLY_RUNG);
    for round in 0..3 {
        assert!(receiver.arm(), "nothing is there");
        assert_eq!(push(0, 7), 7);
        assert!(!readable(&receiver, Duration::from_millis(20)), "round {round}: seven ring for nobody");
        assert_eq!(push(7, 1), 1);
        assert!(readable(&receiver, LOST), "round {round}: the eighth rings");
        receiver.disarm();
        for number in 0..8 {
            assert_eq!(receiver.try_recv().map(|event| event.number), Ok(number));
        }
    }
    receiver.set_wake(Wake::default());
    let consumer = thread::spawn(move || (0..3).map(|_| next(&mut receiver)).collect::<Vec<_>>());
    thread::sleep(Duration::from_millis(20));
    assert_eq!(push(0, 3), 3);
    assert_eq!(consumer.join().expect("they come by themselves"), [0, 1, 2]);
}

#[test]
fn a_receiver_that_looks_after_a_time_lets_nobody_ring() {
    let Some(_guard) = kernel("after a time") else { return };
    let loaded = loaded();
    let mut receiver = loaded.receiver::<Event>("events").expect("nobody else consumes");
    receiver.set_wake(Wake::After(Duration::from_millis(100)));
    assert!(receiver.arm(), "nothing is there");
    push::<Event>(loaded.object(), 0, 1);
    let events = loaded.arena().expect("ours").event_count_of("events").expect("it has one");
    assert!(!events.must_notify(), "nobody has said that it sleeps");
    assert!(readable(&receiver, LOST), "its time has come");
    receiver.disarm();
    assert_eq!(next(&mut receiver), 0);
    push::<Event>(loaded.object(), 1, 1);
    assert_eq!(next(&mut receiver), 1);
}

#[test]
fn elements_of_unknown_type_come_as_their_bytes() {
    let Some(_guard) = kernel("bytes") else { return };
    let loaded = loaded();
    let mut opens = loaded.receiver_bytes("opens").expect("nobody else consumes");
    let mut jobs = loaded.receiver_bytes("jobs").expect("any number may consume");
    assert_eq!((opens.element_size(), jobs.element_size()), (304, 8));
    assert!(matches!(opens.pop_with(<[u8]>::to_vec), Err(PopError::Empty)));
    push::<Open>(loaded.object(), 40, 3);
    push::<Job>(loaded.object(), 50, 3);
    for step in 0..3 {
        let open = opens.recv_timeout_with(LOST, |bytes| *from_bytes::<Open>(bytes)).expect("a sound queue");
        assert_eq!(open.map(|open| open.number()), Some(40 + step));
    }
    let mut numbers = Vec::new();
    assert_eq!(jobs.drain(10, |bytes| numbers.push(from_bytes::<Job>(bytes).number)), Ok(3));
    assert_eq!(numbers, [50, 51, 52]);
    let refused = loaded.receiver_bytes("nothing").expect_err("no such queue").to_string();
    assert!(refused.contains("no queue `nothing`; it has `events`, `opens`"), "{refused}");
    assert!(loaded.receiver::<Open>("opens").is_err(), "an MPSC queue has one consumer, whatever it takes");
}

/// A skeleton's object is somebody else's: it lends it.
#[test]
fn receivers_of_an_object_that_somebody_else_keeps_borrow_it() {
    let Some(_guard) = kernel("borrowed objects") else { return };
    let mut open = open();
    let queues = Queues::of(&open).expect("it has queues");
    queues.prepare(&mut open).expect("there is room");
    let object = open.load().expect("the kernel takes it");
    assert!(matches!(queues.receiver::<Event>(&object, "events"), Err(Error::NotMade)));
    queues.create(&object).expect("the queues fit");
    let mut events = queues.receiver::<Event>(&object, "events").expect("nobody else consumes");
    let mut opens = queues.receiver_bytes(&object, "opens").expect("nobody else consumes");
    thread::scope(|scope| {
        let consumer = scope.spawn(move || [next(&mut events), next(&mut events)]);
        push::<Event>(&object, 1, 2);
        push::<Open>(&object, 3, 1);
        assert_eq!(consumer.join().expect("both come"), [1, 2]);
        let open = opens.recv_timeout_with(LOST, |bytes| from_bytes::<Open>(bytes).number());
        assert_eq!(open.expect("a sound queue"), Some(3));
    });
}

#[test]
fn programs_are_attached_by_their_sections_and_the_others_left_alone() {
    let Some(_guard) = kernel("attach by section") else { return };
    let loaded = loaded();
    let mut events = loaded.receiver::<Event>("events").expect("nobody else consumes");
    loaded.attach().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.links().len(), 1, "only userspace runs the others");
    // SAFETY: it only returns a number.
    let parent = unsafe { libc::syscall(SYSCALL) };
    assert!(parent > 0);
    let event = events.recv_timeout(LOST).expect("a sound queue").expect("of our system call");
    assert_eq!((event.number, event.number()), (SYSCALL as u64, SYSCALL as u64));
    loaded.links().clear();
}

#[test]
fn receivers_wait_in_tasks_of_any_runtime_and_lose_nothing_when_they_are_dropped_in_it() {
    const EACH: u64 = 300;
    async fn consume<T: Numbered>(mut receiver: Receiver<T>) -> Receiver<T> {
        for number in 0..EACH {
            let next = tokio::time::timeout(LOST, receiver.recv_async()).await;
            assert_eq!(next.expect("it is woken").expect("a sound queue").number(), number);
        }
        receiver
    }
    let Some(_guard) = kernel("tokio") else { return };
    let loaded = loaded();
    let mut receivers = (
        loaded.receiver::<Event>("events").expect("nobody else consumes"),
        loaded.receiver::<Open>("opens").expect("nobody else consumes"),
        loaded.receiver::<Job>("jobs").expect("nobody else consumes"),
    );
    receivers.0.set_wake(ONLY_RUNG);
    receivers.2.set_wake(ONLY_RUNG);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads and a reactor");
        let tasks = (
            runtime.spawn(consume(receivers.0)),
            runtime.spawn(consume(receivers.1)),
            runtime.spawn(consume(receivers.2)),
        );
        for number in 0..EACH {
            thread::sleep(Duration::from_micros(fastrand::u64(0..200)));
            push_when_there_is_room::<Event>(loaded.object(), number, 1);
            push_when_there_is_room::<Open>(loaded.object(), number, 1);
            push_when_there_is_room::<Job>(loaded.object(), number, 1);
        }
        receivers = runtime.block_on(async {
            (
                tasks.0.await.expect("all came"),
                tasks.1.await.expect("all came"),
                tasks.2.await.expect("all came"),
            )
        });
        runtime.block_on(async {
            let nothing = tokio::time::timeout(Duration::from_millis(20), receivers.0.recv_async()).await;
            assert!(nothing.is_err(), "nothing is there");
            let events = loaded.arena().expect("ours").event_count_of("events").expect("it has one");
            assert!(!events.must_notify(), "who was dropped does not say that it sleeps");
        });
        push::<Event>(loaded.object(), 77, 1);
        assert_eq!(next(&mut receivers.0), 77, "and nothing is lost");
    }
}

/// The environment variable by which a child of the next tests knows where the queues are.
const FOLDER: &str = "ARENAQ_TEST_FOLDER";

fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// Lines of a child that begin so.
fn lines(child: &mut Child, prefix: &'static str) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    lines.filter_map(move |line| line.strip_prefix(prefix).map(str::to_owned))
}

/// Takes a job, and dies before it has left the queue.
#[test]
#[ignore = "run by the test after it"]
fn child_that_dies_with_a_job() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let pinned = Pinned::attach(Path::new(&folder)).expect("it was pinned");
    let mut jobs = pinned.receiver::<Job>("jobs").expect("any number may consume");
    loop {
        // In a thread or not makes no difference: the whole process goes.
        let _ = jobs.pop_with(|job| {
            println!("\nholds {}", job.number);
            // SAFETY: ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        jobs.sleep(Duration::from_millis(10)).expect("it may wait");
    }
}

#[test]
fn recv_takes_over_from_a_consumer_of_a_pinned_queue_that_was_killed() {
    let Some(_guard) = kernel("take over") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queues");
    let loaded = loaded();
    loaded.pin(&folder, &[]).expect("the folder is new");
    let mut typed = loaded.receiver::<Job>("jobs").expect("any number may consume");
    outlives_three(&loaded, &folder, 0, || next(&mut typed));
    drop(typed);
    let mut bytes = loaded.receiver_bytes("jobs").expect("any number may consume");
    outlives_three(&loaded, &folder, 600, || {
        let number = bytes.recv_timeout_with(LOST, |bytes| from_bytes::<Job>(bytes).number);
        number.expect("a sound queue").expect("an element")
    });
    drop(bytes);
    unpin(&folder).expect("it is pinned");
}

/// Three consumers of jobs die one after the other beside one who goes on, of whom `next` is the next element.
fn outlives_three(loaded: &Loaded, folder: &Path, mut first: u64, mut next: impl FnMut() -> u64) {
    for life in 0..3 {
        push::<Job>(loaded.object(), first, 1);
        let mut dying = child("child_that_dies_with_a_job", folder);
        assert_eq!(lines(&mut dying, "holds ").next(), Some(first.to_string()), "life {life}");
        assert_eq!(dying.wait().expect("our child").signal(), Some(libc::SIGKILL));
        // More laps than one: nobody could push behind the cell that the dead one holds.
        assert_eq!(next(), first, "life {life}: what the dead one had");
        for number in first + 1..first + 200 {
            push_when_there_is_room::<Job>(loaded.object(), number, 1);
            assert_eq!(next(), number, "life {life}");
        }
        first += 200;
    }
}

/// Consumes all three queues of a pinned object until it is told to end.
#[test]
#[ignore = "run by the test after it"]
fn child_that_consumes_all_queues() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let pinned = Pinned::attach(Path::new(&folder)).expect("it was pinned");
    let error = pinned.receiver::<Open>("events").expect_err("it carries something else");
    assert!(matches!(error, Error::Arena(_)), "{error}");
    let mut events = pinned.receiver::<Event>("events").expect("nobody else consumes");
    let mut opens = pinned.receiver_bytes("opens", Wait::none()).expect("nobody else consumes");
    let mut jobs = pinned.receiver::<Job>("jobs").expect("any number may consume");
    drop(pinned.receiver_bytes("jobs", Wait::none()).expect("any number may consume, and bytes too"));
    println!("\nready");
    let mut sums = [0; 3];
    let consumer = thread::spawn(move || {
        for _ in 0..10 {
            sums[0] += events.recv().expect("a sound queue").number;
            let open = opens.recv_timeout_with(LOST, |bytes| from_bytes::<Open>(bytes).number());
            sums[1] += open.expect("a sound queue").expect("an element");
            sums[2] += jobs.recv().expect("a sound queue").number;
        }
        sums
    });
    let sums = consumer.join().expect("they go to threads");
    let totals = ["events", "opens", "jobs"].map(|queue| pinned.total(queue).expect("it has one").consumed);
    println!("\nconsumed {sums:?} {totals:?}");
    std::io::stdout().flush().expect("a pipe");
    // The locks are held until it is told.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn an_object_with_three_queues_is_pinned_and_consumed_by_another_process() {
    let Some(_guard) = kernel("pinned typed queues") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queues");
    let loaded = loaded();
    loaded.pin(&folder, &[]).expect("the folder is new");
    let mut names: Vec<_> =
        fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["arena", "doorbell", "queue_1", "queue_2", "record", "tally"]);

    let mut other = child("child_that_consumes_all_queues", &folder);
    let mut said = lines(&mut other, "");
    assert!(said.any(|line| line == "ready"), "it has all three");
    for name in ["events", "opens"] {
        let refused = loaded.receiver_bytes(name).expect_err("the other consumes").to_string();
        assert!(refused.contains(&format!("process {} ", other.id())), "{refused}");
    }
    drop(loaded.receiver::<Job>("jobs").expect("any number may consume"));
    push::<Event>(loaded.object(), 0, 10);
    push::<Open>(loaded.object(), 10, 10);
    push::<Job>(loaded.object(), 20, 10);
    let told = said.find_map(|line| line.strip_prefix("consumed ").map(str::to_owned));
    assert_eq!(told.as_deref(), Some("[45, 145, 245] [10, 10, 10]"));
    drop(other.stdin.take());
    assert!(other.wait().expect("our child").success());

    let again = loaded.pin(&bpffs.path("again"), &[]).expect_err("it is pinned").to_string();
    assert!(again.contains("is pinned in") && again.contains("already"), "{again}");
    assert!(!bpffs.path("again").exists());
    let mut events = loaded.receiver::<Event>("events").expect("the other has ended");
    push::<Event>(loaded.object(), 5, 1);
    assert_eq!(next(&mut events), 5);
    drop(events);
    unpin(&folder).expect("it is pinned");
    assert!(!folder.exists());
    loaded.pin(&folder, &[]).expect("it is pinned no more");
    unpin(&folder).expect("it is pinned");
}

#[test]
fn a_queue_whose_bytes_somebody_consumes_is_pinned_and_its_consumer_goes_on() {
    let Some(_guard) = kernel("bytes, then a pin") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queues");
    let loaded = loaded();
    let mut jobs = loaded.receiver_bytes("jobs").expect("any number may consume");
    loaded.pin(&folder, &[]).expect("it has a slot, of which others could take over");
    let mut other = loaded.receiver_bytes("jobs").expect("any number may consume");
    push::<Job>(loaded.object(), 7, 2);
    for (receiver, number) in [(&mut jobs, 7), (&mut other, 8)] {
        let popped = receiver.recv_timeout_with(LOST, |bytes| from_bytes::<Job>(bytes).number);
        assert_eq!(popped.expect("a sound queue"), Some(number));
    }
    drop((jobs, other));
    unpin(&folder).expect("it is pinned");
}

#[test]
fn a_folder_that_is_neither_roots_nor_ours_is_refused() {
    let Some(_guard) = kernel("somebody else's folder") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queues");
    let loaded = loaded();
    loaded.pin(&folder, &[]).expect("the folder is new");
    std::os::unix::fs::chown(&folder, Some(65534), None).expect("we are root");
    let attached = Pinned::attach(&folder).expect_err("nobody's").to_string();
    let unpinned = unpin(&folder).expect_err("nobody's").to_string();
    for refused in [attached, unpinned] {
        assert!(refused.contains("it belongs to user 65534") && refused.contains("chown 0 "), "{refused}");
    }
    assert!(folder.join("record").exists(), "nothing was removed");
    std::os::unix::fs::chown(&folder, Some(0), None).expect("we are root");
    unpin(&folder).expect("it is ours");
}
