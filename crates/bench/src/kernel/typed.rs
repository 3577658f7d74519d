//! Queues with names, of elements of any type: as whoever uses `arenaq-libbpf` makes them and takes from them.

use anyhow::{Context, bail};
use arenaq::PopError;
use arenaq::arena::Consumer;
use arenaq_bpf_build::Instructions;
use arenaq_libbpf::Queues;
use libbpf_rs::{ObjectBuilder, OpenObject};

use super::channel::Seen;
use super::object::Loaded;
use crate::user::queue::Element;

/// A loaded object, and the one of its queues that is used.
#[derive(Debug)]
pub(super) struct Typed {
    queues: Queues,
    queue: String,
    payload: usize,
}

impl Typed {
    /// Loads the program that pushes elements of `payload` bytes to the queue of this kind, and makes room for so many.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or there is no such queue.
    pub(super) fn load(kind: &str, payload: usize, capacity: u64) -> anyhow::Result<(Loaded, Typed)> {
        let queue = format!("{kind}_{payload}");
        let program = Typed::program(kind, payload);
        let mut queues = Queues::of(&open(Instructions::AcquireRelease, &program)?)?;
        queues.set_capacity(&queue, capacity)?;
        let loaded = Loaded::by(&program, |instructions| Ok(queues.load(open(instructions, &program)?)?))?;
        queues.create(loaded.object())?;
        Ok((loaded, Typed { queues, queue, payload }))
    }

    /// The name of the program.
    pub(super) fn program(kind: &str, payload: usize) -> String {
        format!("push_{kind}_{payload}")
    }

    /// The consuming end of the queue, which is in that object.
    ///
    /// # Errors
    ///
    /// If somebody else has it.
    pub(super) fn consumer<'a>(&self, loaded: &'a Loaded) -> anyhow::Result<Box<dyn Drain + 'a>> {
        let arena = self.queues.attach(loaded.object()).context("the arena of the queues with names")?;
        Ok(match self.payload {
            8 => Box::new(arena.consumer::<[u64; 1]>(&self.queue)?),
            16 => Box::new(arena.consumer::<[u64; 2]>(&self.queue)?),
            64 => Box::new(arena.consumer::<[u64; 8]>(&self.queue)?),
            256 => Box::new(arena.consumer::<[u64; 32]>(&self.queue)?),
            other => bail!("no queue is declared for elements of {other} bytes"),
        })
    }
}

/// A consuming end, whatever it takes.
pub(super) trait Drain {
    /// Takes up to so many elements.
    fn drain(&mut self, limit: u64, seen: &Seen) -> Result<u64, PopError>;
}

impl<T: Element> Drain for Consumer<'_, T> {
    fn drain(&mut self, limit: u64, seen: &Seen) -> Result<u64, PopError> {
        Consumer::drain(self, limit, |element| seen.take(element.serial()))
    }
}

fn open(instructions: Instructions, wanted: &str) -> anyhow::Result<OpenObject> {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_TYPED_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_TYPED_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_TYPED_FULL_BARRIER")),
    };
    let mut open = ObjectBuilder::default().name("arenaq_typed")?.open_memory(object)?;
    for mut program in open.progs_mut() {
        let load = program.name() == wanted;
        program.set_autoload(load);
    }
    Ok(open)
}
