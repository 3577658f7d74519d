//! Who takes part.

use anyhow::Context;
use arenaq::count::{Counted, Uncounted};

use super::peers::arenaq::{ArenaqMpmc, ArenaqMpsc, ArenaqSingle};
use super::peers::owned;
use super::peers::{
    concurrent_queue, cordyceps, crossbeam, flume, heapless, kanal, nexus, records, rtrb, spsc, std_mpsc,
    thingbuf,
};
use super::queue::Queue;
use super::shape::{self, Shape, Work};
use crate::results::Role;

/// The payloads that are measured.
pub const PAYLOADS: [usize; 2] = [16, 64];

/// How many threads may use a kind of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    Yes,
    No,
}

/// A queue that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    /// Its name in results.
    pub name: &'static str,
    /// Ours, or a peer.
    pub role: Role,
    producers: Many,
    consumers: Many,
    /// The capacity that it has, if it cannot have another.
    capacity: Option<usize>,
    small: fn(Work) -> anyhow::Result<f64>,
    large: fn(Work) -> anyhow::Result<f64>,
}

impl Contender {
    const fn of<Q: Queue<[u64; 2]> + Queue<[u64; 8]>>(name: &'static str, role: Role) -> Contender {
        Contender {
            name,
            role,
            producers: Many::Yes,
            consumers: Many::Yes,
            capacity: None,
            small: shape::run::<[u64; 2], Q>,
            large: shape::run::<[u64; 8], Q>,
        }
    }

    const fn one_consumer(self) -> Contender {
        Contender { consumers: Many::No, ..self }
    }

    const fn one_producer(self) -> Contender {
        Contender { producers: Many::No, ..self }
    }

    const fn only(self, capacity: usize) -> Contender {
        Contender { capacity: Some(capacity), ..self }
    }

    /// Whether it can do this.
    pub fn can(&self, shape: Shape, capacity: usize) -> bool {
        let (producers, consumers) = shape.threads();
        (self.producers == Many::Yes || producers == 1)
            && (self.consumers == Many::Yes || consumers == 1)
            && self.capacity.is_none_or(|only| only == capacity)
    }

    /// Runs once; nanoseconds for each element.
    ///
    /// # Errors
    ///
    /// As [`shape::run`], or if there is no such payload.
    pub fn run(&self, payload: usize, work: Work) -> anyhow::Result<f64> {
        match payload {
            16 => (self.small)(work),
            64 => (self.large)(work),
            _ => anyhow::bail!("payloads have 16 or 64 bytes, not {payload}"),
        }
    }
}

/// All.
pub const ALL: &[Contender] = &[
    Contender::of::<ArenaqMpmc<Counted>>("mpmc", Role::Ours),
    Contender::of::<ArenaqMpmc<Uncounted>>("mpmc-uncounted", Role::Ours),
    Contender::of::<ArenaqSingle<Uncounted>>("mpmc-single-uncounted", Role::Ours)
        .one_producer()
        .one_consumer(),
    Contender::of::<ArenaqMpsc<Counted>>("mpsc", Role::Ours).one_consumer(),
    Contender::of::<ArenaqMpsc<Uncounted>>("mpsc-uncounted", Role::Ours).one_consumer(),
    Contender::of::<owned::Mpmc>("mpmc-owned", Role::Ours),
    Contender::of::<owned::Mpsc>("mpsc-owned", Role::Ours).one_consumer(),
    Contender::of::<spsc::Spsc>("spsc-owned", Role::Ours).one_producer().one_consumer(),
    Contender::of::<spsc::Rings>("spsc-fan-in", Role::Ours).one_consumer(),
    Contender::of::<records::Lanes>("records", Role::Ours).one_consumer(),
    Contender::of::<records::KeptLanes>("records-kept", Role::Ours).one_consumer(),
    Contender::of::<crossbeam::Array>("crossbeam-array", Role::Peer),
    Contender::of::<crossbeam::Segments>("crossbeam-seg", Role::Peer),
    Contender::of::<concurrent_queue::Bounded>("concurrent-queue-bounded", Role::Peer),
    Contender::of::<concurrent_queue::Unbounded>("concurrent-queue-unbounded", Role::Peer),
    Contender::of::<std_mpsc::Unbounded>("std-mpsc", Role::Peer).one_consumer(),
    Contender::of::<std_mpsc::Bounded>("std-mpsc-sync", Role::Peer).one_consumer(),
    Contender::of::<thingbuf::Thingbuf>("thingbuf", Role::Peer),
    Contender::of::<rtrb::Rtrb>("rtrb", Role::SpscPeer).one_producer().one_consumer(),
    Contender::of::<nexus::Several>("nexus-logbuf", Role::Peer).one_consumer(),
    Contender::of::<nexus::Single>("nexus-logbuf-spsc", Role::SpscPeer).one_producer().one_consumer(),
    Contender::of::<heapless::Heapless>("heapless", Role::Peer).only(heapless::CAPACITY),
    Contender::of::<cordyceps::Cordyceps>("cordyceps", Role::Peer).one_consumer(),
    Contender::of::<kanal::Kanal>("kanal", Role::LockingPeer),
    Contender::of::<flume::Flume>("flume", Role::LockingPeer),
];

/// The contender of a name.
///
/// # Errors
///
/// If there is none.
pub fn find(name: &str) -> anyhow::Result<&'static Contender> {
    ALL.iter().find(|contender| contender.name == name).with_context(|| format!("no contender {name}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ALL, PAYLOADS, find};
    use crate::user::{Shape, Work};

    #[test]
    fn every_contender_hands_over_every_element_in_every_shape_that_it_can() {
        let shapes = [
            Shape::Uncontended,
            Shape::Bursts,
            Shape::Fill,
            Shape::transfer(1, 1),
            Shape::transfer(2, 1),
            Shape::transfer(2, 2),
            Shape::Transfer { producers: 1, consumers: 1, bursts: true },
        ];
        // heapless can hang: `child` is where that is bounded.
        for contender in ALL.iter().filter(|contender| contender.name != "heapless") {
            for shape in shapes.into_iter().filter(|shape| contender.can(*shape, 1024)) {
                for payload in PAYLOADS {
                    let work = Work { shape, capacity: 1024, duration: Duration::from_millis(2) };
                    let result = contender.run(payload, work);
                    assert!(result.is_ok(), "{} {shape} {payload}: {result:?}", contender.name);
                }
            }
        }
    }

    #[test]
    fn who_has_one_consumer_does_not_take_part_where_there_are_two() {
        let mpsc = find("mpsc").expect("it is ours");
        assert!(mpsc.can(Shape::transfer(4, 1), 1024));
        assert!(!mpsc.can(Shape::transfer(2, 2), 1024));
        let rtrb = find("rtrb").expect("a peer");
        assert!(!rtrb.can(Shape::transfer(2, 1), 1024));
        let heapless = find("heapless").expect("a peer");
        assert!(!heapless.can(Shape::Fill, 2048));
    }
}
