//! The way back: userspace pushes, a BPF program pops.

use std::time::Instant;

use anyhow::{Context, ensure};
use arenaq::KeyValue;
use arenaq::arena::Spec;
use arenaq::count::Counted;
use libbpf_rs::UserRingBuffer;

use super::channel::{QUEUE, push_to_map};
use super::object::{Loaded, MapSize, Mapped, Run};
use crate::cpu;
use crate::results::Role;
use crate::statistics::Summary;

/// How many elements are pushed, and then popped; there is room for twice as many.
const BATCH: u32 = 4096;
const PAYLOAD: u32 = 16;

/// How elements travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// arenaq's bounded queue.
    Mpmc,
    /// The user ring buffer.
    UserRingbuf,
    /// A queue map.
    QueueMap,
}

impl Back {
    /// All.
    pub const ALL: [Back; 3] = [Back::Mpmc, Back::UserRingbuf, Back::QueueMap];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Back::Mpmc => "mpmc",
            Back::UserRingbuf => "user-ringbuf",
            Back::QueueMap => "queue-map",
        }
    }

    /// Ours, or a peer.
    pub const fn role(self) -> Role {
        match self {
            Back::Mpmc => Role::Ours,
            // One drains at a time, the others are refused; libbpf's producers take turns at a lock of the user's.
            Back::UserRingbuf | Back::QueueMap => Role::LockingPeer,
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Back::Mpmc => "pop_mpmc",
            Back::UserRingbuf => "drain_user_ringbuf",
            Back::QueueMap => "pop_queue_map",
        }
    }

    const fn map(self) -> MapSize {
        let room = 2 * BATCH;
        match self {
            Back::Mpmc => MapSize { name: "arena", entries: room * 24 / 4096 + 8, value: None },
            Back::UserRingbuf => MapSize {
                name: "user_ringbuf",
                entries: (room * (PAYLOAD + 8)).next_power_of_two(),
                value: None,
            },
            Back::QueueMap => MapSize { name: "queue", entries: room, value: Some(PAYLOAD) },
        }
    }
}

/// A loaded way back.
#[derive(Debug)]
pub struct WayBack {
    back: Back,
    loaded: Loaded,
    mapped: Option<Mapped>,
}

/// Nanoseconds for each element.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// In userspace.
    pub push: f64,
    /// In the kernel, with the loop.
    pub pop: f64,
}

impl WayBack {
    /// Loads what is needed.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn load(back: Back) -> anyhow::Result<WayBack> {
        let loaded = Loaded::load(&[back.program()], &[back.map()])?;
        let mapped = match back {
            Back::Mpmc => {
                Some(loaded.make_arena(Spec::mpmc::<KeyValue>(QUEUE, (2 * BATCH).into()).counted())?)
            }
            _ => None,
        };
        Ok(WayBack { back, loaded, mapped })
    }

    /// Medians over so many batches.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or an element does not arrive.
    pub fn measure(&self, batches: usize) -> anyhow::Result<Times> {
        cpu::on(cpu::allowed()?[0], || self.measure_here(batches))
    }

    fn measure_here(&self, batches: usize) -> anyhow::Result<Times> {
        let mut push = self.pushing()?;
        let program = self.loaded.program(self.back.program())?;
        let (mut pushes, mut pops) = (Vec::new(), Vec::new());
        for _ in 0..=batches {
            let start = Instant::now();
            for serial in 0..BATCH.into() {
                push(KeyValue { key: serial, value: serial })?;
            }
            pushes.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
            let run = program.run(Run::of(BATCH.into()))?;
            ensure!(run.done == u64::from(BATCH), "{} of {BATCH} elements arrived", run.done);
            pops.push(run.ns as f64 / f64::from(BATCH));
        }
        // The first batch finds cold caches.
        let median =
            |times: &[f64]| Summary::of(&times[1..]).map(|summary| summary.median).context("no batch");
        Ok(Times { push: median(&pushes)?, pop: median(&pops)? })
    }

    fn pushing(&self) -> anyhow::Result<Box<dyn FnMut(KeyValue) -> anyhow::Result<()> + '_>> {
        Ok(match self.back {
            Back::Mpmc => {
                // SAFETY: `load` has made the arena in this object.
                let arena = unsafe { self.mapped.context("no arena")?.attach(&self.loaded) }?;
                let queue = arena.mpmc::<KeyValue, Counted>(QUEUE)?;
                Box::new(move |element| Ok(queue.push(element)?))
            }
            Back::UserRingbuf => {
                let ring = UserRingBuffer::new(&self.loaded.map("user_ringbuf")?)?;
                Box::new(move |element| {
                    let mut sample = ring.reserve(PAYLOAD as usize)?;
                    sample.copy_from_slice(bytemuck::bytes_of(&element));
                    Ok(ring.submit(sample)?)
                })
            }
            Back::QueueMap => {
                let map = self.loaded.map("queue")?;
                Box::new(move |element| push_to_map(&map, element))
            }
        })
    }
}
