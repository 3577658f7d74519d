//! Everything that a process can do with an arena.

use std::fmt::Debug;
use std::hint::black_box;
use std::num::NonZero;

use arenaq::arena::{
    Arena, ArenaRecords, Consumer, Mpmc, MpmcConsumer, MpscConsumer, MpscProducer, Owner, Queue, QueueInfo,
};
use arenaq::count::{CountPolicy, Counted, Uncounted};
use arenaq::payload::Element;
use arenaq::platform::Native;
use arenaq::records::{self, Merge, Record};
use arenaq::structures::Kind;
use fastrand::Rng;

use super::damage::Damage;
use super::mould::{Event, Page};

/// The ends of one queue, which somebody has.
pub(crate) trait Ends {
    /// Does something with one of them.
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>);
}

/// The ends of every queue that the arena has, if a program has elements of that size.
pub(crate) fn ends_of<'m>(arena: &Arena<'m>, random: &mut Rng) -> Vec<Box<dyn Ends + 'm>> {
    let mut all: Vec<Box<dyn Ends + 'm>> = Vec::new();
    for queue in arena.queues() {
        used(format!("{queue:?}"));
        if queue.kind == Kind::Records {
            all.extend(
                Logging::of(arena, queue.name.as_str(), random).map(|ends| Box::new(ends) as Box<dyn Ends>),
            );
            continue;
        }
        all.extend(match queue.element.size {
            8 => ends::<u64>(arena, queue, random),
            16 => ends::<[u64; 2]>(arena, queue, random),
            24 => ends::<[u64; 3]>(arena, queue, random),
            32 => ends::<[u64; 4]>(arena, queue, random),
            64 => ends::<[u64; 8]>(arena, queue, random),
            256 => ends::<Event>(arena, queue, random),
            4096 => ends::<Page>(arena, queue, random),
            _ => None,
        });
    }
    all
}

fn ends<'m, T: Element + Debug>(
    arena: &Arena<'m>,
    queue: QueueInfo,
    random: &mut Rng,
) -> Option<Box<dyn Ends + 'm>> {
    if random.bool() {
        let name = queue.name.as_str();
        let owner = Owner::process(NonZero::<u32>::MIN);
        let consumer = match random.u8(..4) {
            0 => arena.consumer_at::<T>(name, random.usize(..20), owner),
            // SAFETY: no consumer is alive; whoever says so in the arena has written what is not true.
            1 => unsafe { arena.consumer_after_death::<T>(name, arena.mpsc_owner(name), owner) },
            _ => arena.consumer::<T>(name),
        };
        let (queue, consumer) = (arena.queue::<T>(name).ok()?, consumer.ok()?);
        Some(Box::new(Named { queue, consumer }))
    } else if queue.counted {
        typed::<T, Counted>(arena, queue, random)
    } else {
        typed::<T, Uncounted>(arena, queue, random)
    }
}

fn typed<'m, T: Element + Debug, C: CountPolicy + Debug>(
    arena: &Arena<'m>,
    queue: QueueInfo,
    random: &mut Rng,
) -> Option<Box<dyn Ends + 'm>> {
    let name = queue.name.as_str();
    match queue.kind {
        Kind::Mpmc if random.bool() => Some(Box::new(Ring(arena.mpmc::<T, C>(name).ok()?))),
        Kind::Mpmc => {
            let slotted = arena.mpmc_with_slots::<T, C>(name).ok()?;
            Some(Box::new(Slot { queue: slotted.queue(), consumer: arena.mpmc_consumer::<T, C>(name).ok()? }))
        }
        Kind::Mpsc => {
            let producer = arena.mpsc_producer::<T, C>(name).ok()?;
            let owner = Owner::process(NonZero::<u32>::MIN);
            used(arena.mpsc_owner(name));
            let consumer = if random.bool() {
                arena.mpsc_consumer_as::<T, C>(name, owner)
            } else {
                // SAFETY: no consumer is alive; whoever says so in the arena has written what is not true.
                unsafe { arena.mpsc_consumer_after_death::<T, C>(name, arena.mpsc_owner(name), owner) }
            };
            Some(Box::new(List { producer, consumer: consumer.ok()? }))
        }
        // They are not typed.
        Kind::Records => None,
    }
}

/// Keeps the compiler from leaving the work out.
fn used<T>(value: T) {
    drop(black_box(value));
}

/// So many elements at once.
fn batch<T: Element>(random: &mut Rng) -> Vec<T> {
    vec![T::zeroed(); random.usize(..40)]
}

/// A limit for a batch.
fn limit(random: &mut Rng) -> u64 {
    if random.u8(..8) == 0 { u64::MAX } else { random.u64(..40) }
}

/// The ends by name.
struct Named<'m, T: Element> {
    queue: Queue<'m, T>,
    consumer: Consumer<'m, T>,
}

impl<T: Element + Debug> Ends for Named<'_, T> {
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>) {
        let Named { queue, consumer } = self;
        match random.u8(..12) {
            0 | 1 => used(queue.push(T::zeroed())),
            2 => used(queue.push_many(&batch(random))),
            3 => used(consumer.pop()),
            4 => used(consumer.pop_with(|_| damage.strike_now_and_then(2))),
            5 => used(consumer.drain(limit(random), |_| damage.strike_now_and_then(8))),
            6 => used(consumer.try_iter().take(40).count()),
            7 => used((consumer.slot(), consumer.is_drained(), consumer.is_held_up())),
            8 => used(consumer.has_dead(|_, _| random.bool())),
            // SAFETY: no other consumer of this process has a slot. What is taken over from is what somebody has written
            // into the arena.
            9 => used(unsafe {
                consumer.take_over(limit(random), |_, _| true, |_| damage.strike_now_and_then(8))
            }),
            // SAFETY: nobody pops but who damages the arena, which is the point. Elements are plain old data.
            10 => used(unsafe { consumer.inspect(|_| damage.strike_now_and_then(8)) }),
            _ => used((queue.dropped(), format!("{queue:?} {consumer:?}"))),
        }
    }
}

/// The bounded queue.
struct Ring<'m, T: Element, C: CountPolicy>(Mpmc<'m, T, C>);

impl<T: Element + Debug, C: CountPolicy + Debug> Ends for Ring<'_, T, C> {
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>) {
        let queue = &self.0;
        match random.u8(..16) {
            0 => used(queue.push(T::zeroed())),
            1 => used(queue.push_many(&batch(random))),
            2 => used(queue.pop()),
            3 => used(queue.pop_with(|_| damage.strike_now_and_then(2))),
            4 => used(queue.drain(limit(random), |_| damage.strike_now_and_then(8))),
            5 => assert!(queue.len() <= queue.capacity()),
            6 => used((queue.is_empty(), queue.count(), format!("{queue:?}"))),
            7 => used(queue.verify()),
            8 => used(queue.verify_quiesced()),
            9 => {
                // SAFETY: nobody pops but who damages the arena, which is the point. Elements are plain old data.
                let found = unsafe {
                    queue.search(|_| {
                        damage.strike_now_and_then(8);
                        false
                    })
                };
                used(found);
            }
            10 => {
                // SAFETY: this is the only consumer.
                used(unsafe { queue.reclaim(|_| damage.strike_now_and_then(8)) });
            }
            // SAFETY: no operation runs.
            11 => unsafe { queue.recount() },
            12 | 13 => {
                // SAFETY: this is the only producer.
                let mut producer = unsafe { queue.single_producer() };
                used((producer.push(T::zeroed()), producer.push_many(&batch(random))));
            }
            _ => {
                // SAFETY: this is the only consumer.
                let mut consumer = unsafe { queue.single_consumer() };
                used((consumer.pop(), consumer.drain(limit(random), |_| ())));
            }
        }
    }
}

/// The bounded queue, for one of several consumers of which some die.
struct Slot<'m, T: Element, C: CountPolicy> {
    queue: Mpmc<'m, T, C>,
    consumer: MpmcConsumer<'m, T, C>,
}

impl<T: Element + Debug, C: CountPolicy + Debug> Ends for Slot<'_, T, C> {
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>) {
        let Slot { queue, consumer } = self;
        match random.u8(..6) {
            0 => used(queue.push(T::zeroed())),
            1 => used(queue.push_many(&batch(random))),
            2 => used((consumer.pop(), format!("{consumer:?}"))),
            3 => used(consumer.pop_with(|_| damage.strike_now_and_then(2))),
            4 => used(consumer.drain(limit(random), |_| damage.strike_now_and_then(8))),
            _ => {
                let dead = random.u8(..);
                let is_dead = |slot: usize, _| {
                    damage.strike_now_and_then(8);
                    dead >> (slot % 8) & 1 == 1
                };
                // SAFETY: there is no other consumer; whoever says so in the arena has written what is not true.
                used(unsafe { consumer.take_over(is_dead, |_| damage.strike_now_and_then(8)) });
            }
        }
    }
}

/// The unbounded queue.
struct List<'m, T: Element, C: CountPolicy> {
    producer: MpscProducer<'m, T, C>,
    consumer: MpscConsumer<'m, T, C>,
}

impl<T: Element + Debug, C: CountPolicy + Debug> Ends for List<'_, T, C> {
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>) {
        let List { producer, consumer } = self;
        match random.u8(..20) {
            0 => used(producer.push(T::zeroed())),
            1 => used(producer.push_many(&batch(random))),
            2 => used(consumer.pop()),
            3 => used(consumer.pop_with(|_| damage.strike_now_and_then(2))),
            4 => used(consumer.drain(limit(random), |_| damage.strike_now_and_then(8))),
            5 => used((consumer.len(), consumer.is_empty(), consumer.is_drained())),
            6 => used((producer.count(), format!("{producer:?} {:?}", **consumer))),
            7 => used(consumer.verify()),
            8 => used(consumer.verify_quiesced()),
            9 => {
                let found = consumer.search(|_| {
                    damage.strike_now_and_then(8);
                    false
                });
                used(found);
            }
            // SAFETY: no producer runs, and nobody else uses the pool, but who damages the arena.
            10 => used(unsafe { consumer.repair() }),
            11 => {
                let is_there = random.u8(..4) > 0;
                let populate = |_| {
                    damage.strike_now_and_then(2);
                    is_there
                };
                // SAFETY: as above.
                used(unsafe { consumer.repair_with(populate) });
            }
            _ => nodes(producer, random),
        }
    }
}

/// Records, of which one process consumes every shard.
struct Logging<'m> {
    records: ArenaRecords<'m>,
    consuming: Consuming<'m>,
}

/// How.
enum Consuming<'m> {
    Each(Vec<records::Consumer<'m, Native>>),
    Merged(Merge<'m, Native>),
}

impl<'m> Logging<'m> {
    fn of(arena: &Arena<'m>, name: &str, random: &mut Rng) -> Option<Self> {
        let records = arena.records(name, Owner::process(NonZero::<u32>::MIN)).ok()?;
        let consumers = (0..records.geometry().shards()).map(|shard| records.consumer(shard)).collect();
        let consumers: Vec<_> = Result::ok(consumers)?;
        let consuming =
            if random.bool() { Consuming::Each(consumers) } else { Consuming::Merged(Merge::new(consumers)) };
        Some(Logging { records, consuming })
    }
}

impl Ends for Logging<'_> {
    fn operate(&mut self, random: &mut Rng, damage: &Damage<'_>) {
        let Logging { records, consuming } = self;
        let largest = records.geometry().largest();
        let look = |record: Record<'_, Native>| {
            damage.strike_now_and_then(8);
            let mut bytes = Vec::new();
            record.copy_to(&mut bytes);
            assert_eq!(bytes.len(), record.size());
            used((record.read::<u64>(), record.read::<[u64; 32]>(), record.stamp()));
            // SAFETY: whoever writes there makes it other bytes, which is the point; it is mapped.
            used(unsafe { record.bytes() }.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
        };
        match random.u8(..12) {
            0..4 => {
                let size = random.u64(..largest + 2) as usize;
                used(records.push(&vec![1; size], random.u64(..)));
            }
            4 => {
                let Ok(mut reservation) = records.reserve(random.u64(..=largest)) else { return };
                for index in 0..reservation.size().div_ceil(8) as usize {
                    reservation.write(index, 1);
                    damage.strike_now_and_then(8);
                }
                if random.bool() {
                    reservation.commit(random.u64(..));
                }
            }
            5 => {
                let Ok(lane) = records.lane() else { return };
                damage.strike_now_and_then(2);
                let Ok(reservation) = lane.reserve(random.u64(..=largest)) else { return };
                damage.strike_now_and_then(2);
                reservation.commit(1);
            }
            6 => used((records.bytes(), records.is_empty(), records.owners().count(), records.dropped())),
            7 => used((records.verify(), format!("{records:?}"))),
            8 => {
                // SAFETY: no producer runs; whoever says so in the arena has written what is not true.
                used(unsafe { records.repair(|_| true) });
            }
            _ => match consuming {
                Consuming::Each(consumers) => {
                    for consumer in consumers {
                        used((consumer.is_quiet(), consumer.verify()));
                        used(consumer.drain_in_place(limit(random), look));
                    }
                }
                Consuming::Merged(merge) => {
                    used((merge.is_quiet(), merge.late()));
                    used(merge.drain_in_place(random.u64(..), limit(random), look));
                }
            },
        }
    }
}

/// What one does with the pool alone.
fn nodes<T: Element + Debug, C: CountPolicy + Debug>(producer: &MpscProducer<'_, T, C>, random: &mut Rng) {
    let nodes = producer.nodes();
    match random.u8(..6) {
        0 => used((nodes.created(), nodes.limit(), nodes.block(), nodes.spare())),
        1 => used((nodes.free_nodes(), format!("{nodes:?}"))),
        2 => {
            let taken: Vec<_> = (0..random.usize(..20)).map_while(|_| nodes.alloc().ok()).collect();
            for node in taken {
                assert!(nodes.owns(node), "the pool has handed out {node:?}, which is not its own");
                // SAFETY: taken above, and nobody uses it. The damage may have it handed out twice, which is the point.
                let _ = unsafe { nodes.free(node) };
            }
        }
        3 => {
            if let Ok(run) = nodes.alloc_run(random.u64(..100)) {
                // SAFETY: a run of this pool.
                for node in unsafe { nodes.nodes_of_run(&run) } {
                    assert!(nodes.owns(node), "the pool has handed out {node:?}, which is not its own");
                    // SAFETY: as above.
                    let _ = unsafe { nodes.free(node) };
                }
            }
        }
        4 => used(producer.grow(random.u64(..20))),
        _ => {
            let Ok(reservation) = nodes.reserve(1, random.u64(1..20)) else { return };
            used((nodes.node_addresses(&reservation), nodes.link_addresses(&reservation)));
            assert!(nodes.reserved_nodes(&reservation).all(|node| nodes.owns(node)));
            // SAFETY: the reservation is of this pool, whose memory is all there, and so is the chain.
            unsafe {
                if random.bool() {
                    drop(nodes.cancel(reservation));
                } else {
                    drop(nodes.free_chain(nodes.link_up(reservation)));
                }
            }
        }
    }
}

/// What an arena has besides its queues.
pub(crate) fn sleep(arena: &Arena<'_>) {
    let Ok(events) = arena.event_count() else { return };
    let Some(ticket) = events.prepare() else { return };
    used((events.must_notify(), events.is_notified(&ticket)));
    used((events.cancel(ticket), events.must_notify()));
}
