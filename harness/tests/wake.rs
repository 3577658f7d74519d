//! A consumer that sleeps is woken by programs in the kernel.

mod support;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use arenaq::PopError;
use arenaq_harness::{Config, Hook, Kernel, QueueKind};
use arenaq_libbpf::Wake;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::{QUEUES, kernel};

fn loaded(queue: QueueKind) -> Kernel {
    Kernel::load(&Config { queue, hook: Hook::Drive, capacity: 1 << 10, ..Config::default() })
        .expect("the kernel can run it")
}

/// Longer than any sleep that is ended by a ring, and much shorter than the test's patience.
const LOST: Duration = Duration::from_secs(10);

/// Only a ring ends a sleep.
const ONLY_RUNG: Wake = Wake::Notified { at_most: Duration::MAX };

#[test]
fn no_wakeup_is_lost_whenever_the_push_comes() {
    const EVENTS: u64 = 2_000;
    let Some(_guard) = kernel("wake up") else { return };
    for queue in QUEUES {
        let loaded = loaded(queue);
        let mut receiver = loaded.receiver().expect("the queue is ours");
        receiver.set_wake(ONLY_RUNG);
        let mut sleeps = 0;
        thread::scope(|scope| {
            let loaded = &loaded;
            scope.spawn(move || {
                for event in 0..EVENTS {
                    // From no time at all to long enough for the consumer to fall asleep.
                    let pause = Duration::from_micros(fastrand::u64(0..300));
                    thread::sleep(pause);
                    assert_eq!(loaded.drive(event, 1).expect("the program runs"), 1);
                }
            });
            for event in 0..EVENTS {
                let received = loop {
                    match receiver.try_recv() {
                        Err(PopError::Empty) if receiver.arm() => {
                            assert!(readable(&receiver, LOST), "{queue:?}: event {event} woke nobody");
                            sleeps += 1;
                            receiver.disarm();
                        }
                        Err(PopError::Empty | PopError::Busy) => thread::yield_now(),
                        other => break other.expect("a sound queue"),
                    }
                };
                assert_eq!(received.key, event);
            }
        });
        assert!(sleeps > EVENTS / 10, "{queue:?}: the consumer slept {sleeps} times only");
        assert_eq!(receiver.recv_timeout(Duration::ZERO).expect("a sound queue"), None);
    }
}

#[test]
fn recv_returns_what_was_there_and_what_comes() {
    let Some(_guard) = kernel("recv") else { return };
    for queue in QUEUES {
        let loaded = loaded(queue);
        let mut receiver = loaded.receiver().expect("the queue is ours");
        loaded.drive(1, 1).expect("the program runs");
        assert_eq!(receiver.recv().map(|event| event.key).expect("a sound queue"), 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                loaded.drive(2, 1).expect("the program runs");
            });
            assert_eq!(receiver.recv().map(|event| event.key).expect("a sound queue"), 2);
        });
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).expect("a short time")
}

/// Whether a file descriptor is readable within so long.
fn readable(fd: &impl AsFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&timespec(within))).expect("an epoll instance") == 1
}

#[test]
fn an_event_loop_is_told_when_something_comes_and_only_if_it_has_asked() {
    let Some(_guard) = kernel("event loop") else { return };
    for queue in QUEUES {
        let loaded = loaded(queue);
        let mut receiver = loaded.receiver().expect("the queue is ours");
        receiver.set_wake(ONLY_RUNG);
        loaded.drive(1, 1).expect("the program runs");
        assert!(!readable(&receiver, Duration::ZERO), "{queue:?}: nobody has asked");
        assert!(!receiver.arm(), "{queue:?}: an element is there");
        assert!(receiver.try_recv().is_ok());

        assert!(receiver.arm(), "{queue:?}: nothing is there");
        assert!(!readable(&receiver, Duration::ZERO));
        loaded.drive(2, 3).expect("the program runs");
        assert!(readable(&receiver, LOST), "{queue:?}: the first of three rings");
        receiver.disarm();
        for _ in 0..3 {
            assert_eq!(receiver.try_recv().map(|event| event.key), Ok(2));
        }
        assert_eq!(receiver.try_recv(), Err(PopError::Empty));

        assert!(receiver.arm(), "{queue:?}: what has rung is forgotten");
        assert!(!readable(&receiver, Duration::ZERO));
        receiver.disarm();
        loaded.drive(3, 1).expect("the program runs");
        assert!(!readable(&receiver, Duration::ZERO), "{queue:?}: nobody sleeps any more");
    }
}

#[test]
fn a_ring_that_one_consumer_has_answered_is_heard_by_the_others() {
    let Some(_guard) = kernel("a ring for several") else { return };
    let loaded = loaded(QueueKind::Mpmc);
    let mut receivers = [(); 2].map(|()| loaded.receiver().expect("any number may consume"));
    let [quick, slow] = &mut receivers;
    quick.set_wake(ONLY_RUNG);
    slow.set_wake(ONLY_RUNG);
    // As often as the ring buffer has room for records, and some more.
    for round in 0..300 {
        assert!(quick.arm() && slow.arm(), "nothing is there");
        loaded.drive(round, 1).expect("the program runs");
        assert!(readable(quick, LOST));
        assert_eq!(quick.try_recv().map(|event| event.key), Ok(round));
        assert!(quick.arm(), "it has answered, and sleeps again");
        assert!(readable(slow, LOST), "round {round}: it has woken the other too");
        quick.disarm();
        slow.disarm();
    }
}

#[test]
fn several_consumers_sleep_and_all_elements_are_received() {
    const CONSUMERS: usize = 3;
    const EVENTS: u64 = 3_000;
    let Some(_guard) = kernel("several sleepers") else { return };
    let loaded = loaded(QueueKind::Mpmc);
    let received = thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| {
                let mut receiver = loaded.receiver().expect("any number may consume");
                scope.spawn(move || {
                    let mut keys = Vec::new();
                    // A key of all ones ends one consumer.
                    loop {
                        let event = receiver.recv_timeout(LOST).expect("a sound queue").expect("woken");
                        if event.key == u64::MAX {
                            return keys;
                        }
                        keys.push(event.key);
                    }
                })
            })
            .collect();
        for event in 0..EVENTS {
            loaded.drive(event, 1).expect("the program runs");
            if event % 50 == 0 {
                thread::sleep(Duration::from_micros(fastrand::u64(0..2_000)));
            }
        }
        let start = Instant::now();
        for _ in 0..CONSUMERS {
            loaded.drive(u64::MAX, 1).expect("the program runs");
        }
        let received: Vec<u64> =
            consumers.into_iter().flat_map(|consumer| consumer.join().expect("no panic")).collect();
        assert!(start.elapsed() < LOST, "somebody slept through the end");
        received
    });
    let mut received = received;
    received.sort_unstable();
    assert!(received.into_iter().eq(0..EVENTS), "each event once");
}
