//! The unbounded queue: many producers, one consumer, a list of nodes.
//!
//! Dmitry Vyukov, [Intrusive MPSC node-based
//! queue](https://www.1024cores.net/home/lock-free-algorithms/queues/intrusive-mpsc-node-based-queue); the
//! seeds' `ds_mpsc`.
//!
//! # How it works
//!
//! The list always has at least one node, the *stub*, whose payload is spent. `tail` points to it, `head` to
//! the last node. A producer makes a node, *swaps* it into `head`, and *links* the node that was there to its
//! own. The consumer follows the link of the stub; the node that it finds gives up its payload and is the
//! next stub.
//!
//! ```text
//! tail           head             tail                        head
//!  |              |                |                           |
//!  v              v                v                           v
//! stub --> a --> b --> null       stub --> a --> b --> null   c --> null
//! ```
//!
//! On the right a producer has swapped `c` in and not linked it yet. A push is two steps, and between them
//! the list is in two pieces. Nothing is broken: the consumer takes `a` and `b`, then finds that its stub has
//! no next node although it is not the head, and says [`PopError::Busy`]. When the producer goes on, the
//! pieces join. If it never does, everything behind stays there: a stalled producer blocks the consumer, and
//! never another producer.
//!
//! # Who owns a node
//!
//! From [`Pool::alloc`] to the swap, the producer. From the link to the pop, the queue: a node that is linked
//! is only read. The node that the consumer moves off was the stub; its next is set, so no producer will ever
//! look at it again, and it goes back to the pool. The one node that several may reach is the head: the
//! producer that swaps it out is the only one that links it, and the consumer does not free it before it is
//! linked.

use core::marker::PhantomData;

use crate::count::{CountPolicy, Counted};
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform, Word};
use crate::pool::{Chain, Pool};
use crate::status::{Corruption, PopError, PushError};

/// The sites of the queue.
pub mod site {
    use crate::ordering::Ordering::{AcqRel, Acquire, Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Whether the queue was initialised.
        PUSH_HEAD: Load = Site::load(Relaxed, "mpsc.push.load_head")
            .of(Field::Head)
            .why("null in a queue that was never initialised, and never again once it was; no node is reached through it");
        /// A new node is the last one.
        PUSH_INIT: Write = Site::write("mpsc.push.init_next")
            .of(Field::Next)
            .why("the node is private until the swap")
            .seed("3.2 step 2: n->next = NULL");
        /// The element itself, in a node that nobody else can reach.
        PUSH_DATA: Write = Site::write("mpsc.push.write_data")
            .of(Field::Data)
            .why("the node is private until the swap")
            .seed("3.2 step 2: n->key, n->value");
        /// The node becomes the head, and the producer learns which node to link.
        PUSH_SWAP: Swap = Site::swap(AcqRel, "mpsc.push.swap_head")
            .of(Field::Head)
            .pairs_with(&["mpsc.push.swap_head"])
            .why("release: this node's null next is written before the next producer links it; acquire: the previous node's null next was \
                  written before this producer links it. With release alone the link can come first and be lost")
            .seed("3.2 step 3");
        /// The previous node leads to this one.
        PUSH_LINK: Store = Site::store(Release, "mpsc.push.link_node")
            .of(Field::Next)
            .pairs_with(&["mpsc.pop.load_next", "mpsc.search.load_next"])
            .why("the data is written before the consumer that follows the link reads it")
            .seed("3.2 step 4");
        /// One element more.
        PUSH_COUNT: Add = Site::add(Relaxed, "mpsc.push.increment_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it")
            .seed("3.2 count");

        /// The stub.
        POP_TAIL: Read = Site::read("mpsc.pop.read_tail")
            .of(Field::Tail)
            .why("only the consumer touches the tail")
            .seed("3.3 step 1");
        /// The node after the stub.
        POP_NEXT: Load = Site::load(Acquire, "mpsc.pop.load_next")
            .of(Field::Next)
            .pairs_with(&["mpsc.push.link_node"])
            .why("the producer's write of the data happens before this pop reads it")
            .seed("3.3 step 2");
        /// Whether the stub is the last node: asked only if it leads nowhere.
        POP_HEAD: Load = Site::load(Relaxed, "mpsc.pop.load_head")
            .of(Field::Head)
            .why("tells empty from busy; no node is reached through it")
            .seed("3.3 case 1");
        /// The element.
        POP_DATA: Read = Site::read("mpsc.pop.read_data")
            .of(Field::Data)
            .why("a linked node is only read")
            .seed("3.3 step 4");
        /// The node that was popped is the stub now.
        POP_ADVANCE: Write = Site::write("mpsc.pop.write_tail")
            .of(Field::Tail)
            .why("only the consumer touches the tail")
            .seed("3.3 step 5");
        /// The node after one whose element was drained.
        DRAIN_NEXT: Load = Site::load(Relaxed, "mpsc.drain.load_next")
            .of(Field::Next)
            .why("the consumer has followed this link before, and nobody sets it again before the node is given back");
        /// One element less.
        POP_COUNT: Add = Site::add(Relaxed, "mpsc.pop.decrement_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it")
            .seed("3.3 count");

        /// The next node, for the consumer that only looks.
        SEARCH_NEXT: Load = Site::load(Acquire, "mpsc.search.load_next")
            .of(Field::Next)
            .pairs_with(&["mpsc.push.link_node"])
            .why("the producer's write of the data happens before the search reads it")
            .seed("3.4");
        /// An element that stays in the queue.
        SEARCH_DATA: Read = Site::read("mpsc.search.read_data")
            .of(Field::Data)
            .why("a linked node is only read")
            .seed("3.4");
        /// The last node, as the consumer that only looks reads it.
        INSPECT_HEAD: Load = Site::load(Relaxed, "mpsc.inspect.load_head")
            .of(Field::Head)
            .why("compared, not followed")
            .seed("5");
        /// The counter, as an observer reads it.
        INSPECT_COUNT: Load = Site::load(Relaxed, "mpsc.inspect.load_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");

        /// Everything that is written before the queue is handed out.
        INIT: Write = Site::write("mpsc.init.write")
            .of(Field::Several)
            .why("nobody else knows of the queue yet")
            .seed("3.1");
    }
}

/// One node of the list.
///
/// Layout for [`KeyValue`](crate::KeyValue): `next` 0, `key` 8, `value` 16; 24 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Node<P: Platform, T: Payload> {
    pub(crate) next: P::Link<Node<P, T>>,
    pub(crate) data: P::Plain<T>,
}

impl<P: Platform, T: Payload> Node<P, T> {
    /// A node that belongs to no queue yet.
    pub fn empty() -> Self {
        Node { next: P::Link::new(core::ptr::null_mut()), data: P::Plain::new(T::zeroed()) }
    }
}

// SAFETY: a node is plain old data and a pointer that is followed only as the queue allows; neither is tied
// to a thread.
unsafe impl<P: Platform, T: Payload> Send for Node<P, T> {}

/// The shared control block of a queue.
///
/// Layout: `head` 0, `tail` 8, `count` 16; 24 bytes. All zero is a queue that was never initialised.
#[repr(C)]
pub struct Head<P: Platform, T: Payload, C: CountPolicy = Counted> {
    /// The back of the queue, where producers add.
    pub(crate) head: P::Link<Node<P, T>>,
    /// The front of the queue, the stub. The consumer's alone.
    pub(crate) tail: P::Plain<*mut Node<P, T>>,
    pub(crate) count: P::Word,
    policy: PhantomData<C>,
}

// SAFETY: producers touch only the atomic head and counter. The tail is touched only through a `Consumer`, of
// which there is one (`Consumer::new`). Nodes pass from the producer to the consumer by a release and an
// acquire (PUSH_LINK, POP_NEXT).
unsafe impl<P: Platform, T: Payload, C: CountPolicy> Sync for Head<P, T, C> {}
// SAFETY: as above; the raw pointers are not tied to a thread.
unsafe impl<P: Platform, T: Payload, C: CountPolicy> Send for Head<P, T, C> {}

impl<P: Platform, T: Payload, C: CountPolicy> Head<P, T, C> {
    /// A head without a stub, as zeroed memory is one.
    pub fn empty() -> Self {
        const { T::IS_WORDS }
        Head {
            head: P::Link::new(core::ptr::null_mut()),
            tail: P::Plain::new(core::ptr::null_mut()),
            count: P::Word::new(0),
            policy: PhantomData,
        }
    }

    /// Makes an empty queue whose stub is a node of `pool`.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::alloc`]: the queue is not initialised then.
    ///
    /// # Safety
    ///
    /// Nobody uses the queue before this function has returned.
    #[inline]
    pub unsafe fn init(&self, pool: &Pool<P, Node<P, T>>) -> Result<(), PushError> {
        const { T::IS_WORDS }
        let stub = pool.alloc()?;
        // SAFETY: the stub is ours from `alloc` on, and nobody uses the queue before we return.
        unsafe {
            (*stub).next.init(core::ptr::null_mut(), &site::INIT);
            (*stub).data.write(T::zeroed(), &site::INIT);
            self.head.init(stub, &site::INIT);
            self.tail.write(stub, &site::INIT);
            self.count.init(0, &site::INIT);
        }
        Ok(())
    }

    /// Enqueues `value` in a node of `pool`, the one with which the queue was initialised.
    ///
    /// After the allocation a push is wait-free: it never tries again.
    ///
    /// # Errors
    ///
    /// [`PushError::Exhausted`] if no node is free, [`PushError::Contended`] if the allocation spent its
    /// retry budget, [`PushError::Invalid`] if the pool or the queue was never initialised. Nothing has changed
    /// then.
    #[inline(always)]
    pub fn push(&self, pool: &Pool<P, Node<P, T>>, value: T) -> Result<(), PushError> {
        self.check_initialised()?;
        let node = pool.alloc()?;
        // SAFETY: the node is ours from `alloc` on.
        unsafe {
            (*node).next.init(core::ptr::null_mut(), &site::PUSH_INIT);
            (*node).data.write(value, &site::PUSH_DATA);
        }
        // SAFETY: the node is ours and leads nowhere, and the queue is initialised.
        unsafe { self.append(node, node, 1) };
        Ok(())
    }

    /// Enqueues `values` from the first on, as many as the pool has free nodes. Returns how many; the others
    /// are still the caller's. Nothing comes between the elements of one batch, and nothing changes their
    /// order.
    ///
    /// The nodes are linked to each other before anybody else can see them: however long the batch is, it
    /// costs one swap and one link, and a compare-exchange on the pool for each block.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), if there is not one node.
    #[inline]
    pub fn push_many(&self, pool: &Pool<P, Node<P, T>>, values: &[T]) -> Result<usize, PushError> {
        if values.is_empty() {
            return Ok(0);
        }
        self.check_initialised()?;
        let run = pool.alloc_run(values.len() as u64)?;
        let mut nodes = pool.nodes_of_run(&run);
        let mut values = values.iter();
        // A run has a first node, and there is a first value.
        let (Some(first), Some(value)) = (nodes.next(), values.next()) else { return Ok(0) };
        // SAFETY: the nodes of a run are ours from `alloc_run` on.
        unsafe { (*first).data.write(*value, &site::PUSH_DATA) };
        let (mut last, mut length) = (first, 1);
        while !values.as_slice().is_empty() {
            let Some(node) = nodes.next() else {
                let Ok(more) = pool.alloc_run(values.len() as u64) else { break };
                nodes = pool.nodes_of_run(&more);
                continue;
            };
            let Some(value) = values.next() else { break };
            // SAFETY: as above.
            unsafe {
                (*node).data.write(*value, &site::PUSH_DATA);
                (*last).next.init(node, &site::PUSH_INIT);
            }
            last = node;
            length += 1;
        }
        // SAFETY: as above.
        unsafe { (*last).next.init(core::ptr::null_mut(), &site::PUSH_INIT) };
        // SAFETY: the list is ours and its last node leads nowhere, and the queue is initialised.
        unsafe { self.append(first, last, length) };
        Ok(length as usize)
    }

    /// Whether there is a head. It is looked at before anything is changed: a swap into a queue that was never
    /// initialised could not be undone, for the next producer may have swapped the node out.
    #[inline(always)]
    fn check_initialised(&self) -> Result<(), PushError> {
        if self.head.load(&site::PUSH_HEAD).is_null() { Err(PushError::Invalid) } else { Ok(()) }
    }

    /// Puts a list of so many nodes behind the head.
    ///
    /// # Safety
    ///
    /// The nodes are the caller's alone, the last one leads nowhere, and the queue is initialised.
    #[inline(always)]
    unsafe fn append(&self, first: *mut Node<P, T>, last: *mut Node<P, T>, elements: u64) {
        // The serialization point: the order of the swaps is the order of the queue.
        let previous = self.head.swap(last, &site::PUSH_SWAP);
        // SAFETY: the node was the head until our swap, which is a node since the queue was initialised, so it
        // is the stub or was pushed and is not linked.
        // The consumer frees neither before its link is set, and only we, who swapped it out, will set it.
        unsafe { &*previous }.next.store(first, &site::PUSH_LINK);
        C::increment(&self.count, elements, &site::PUSH_COUNT);
    }

    /// The seeds' counter, approximate while operations run. Always 0 under
    /// [`Uncounted`](crate::count::Uncounted).
    #[inline]
    pub fn count(&self) -> u64 {
        crate::count::clamp(self.count.load(&site::INSPECT_COUNT))
    }

    /// The stub.
    ///
    /// # Safety
    ///
    /// The caller is the consumer, or knows that it rests.
    #[inline(always)]
    pub(crate) unsafe fn tail(&self) -> *mut Node<P, T> {
        // SAFETY: only the consumer writes the tail.
        unsafe { self.tail.read(&site::POP_TAIL) }
    }
}

/// A node of the pool, and its number there.
#[derive(Debug)]
struct Numbered<N> {
    node: *mut N,
    number: u64,
}

/// The consuming end of a queue. It is neither `Clone` nor `Sync`: that there is one consumer is a matter of
/// types.
#[derive(Debug)]
pub struct Consumer<'a, P: Platform, T: Payload, C: CountPolicy = Counted> {
    pub(crate) head: &'a Head<P, T, C>,
    pub(crate) pool: &'a Pool<P, Node<P, T>>,
    /// The number of the stub in the pool, from when it was checked.
    stub: u64,
    /// Blocks that the pool did not take back because others were faster; given back with the next one.
    unreturned: Option<Chain>,
    /// Not `Sync`.
    one_thread: PhantomData<core::cell::Cell<()>>,
}

impl<'a, P: Platform, T: Payload, C: CountPolicy> Consumer<'a, P, T, C> {
    /// The consumer of an initialised queue and of the pool with which it was initialised.
    ///
    /// # Errors
    ///
    /// [`Corruption::NotInitialised`] if there is no stub, [`Corruption::Link`] if it is not one of the
    /// pool's nodes.
    ///
    /// # Safety
    ///
    /// The queue has no other consumer as long as this one lives, in any process.
    pub unsafe fn new(head: &'a Head<P, T, C>, pool: &'a Pool<P, Node<P, T>>) -> Result<Self, Corruption> {
        // SAFETY: we are the consumer.
        let tail = unsafe { head.tail() };
        if tail.is_null() {
            return Err(Corruption::NotInitialised);
        }
        let Some(stub) = pool.number(tail) else {
            return Err(Corruption::Link(tail.addr() as u64));
        };
        Ok(Consumer { head, pool, stub, unreturned: None, one_thread: PhantomData })
    }

    /// Dequeues the oldest element.
    ///
    /// If the stub is linked, this does not read the producers' head: as long as elements are there, the
    /// consumer and the producers share only the nodes.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if the stub is the head, [`PopError::Busy`] if it is not and a producer has still
    /// to link it, [`PopError::Corrupt`] if it is linked to something that is no node of the pool.
    // Always: a call in between would copy the element once more.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// [`pop`](Self::pop) by a consumer that may be killed: the element leaves the queue after `hand_over` has
    /// returned. See [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The element stays in the queue then.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        // SAFETY: we are the consumer.
        let tail = unsafe { self.head.tail() };
        let next = self.follow(tail)?.ok_or_else(|| self.why_nothing_follows(tail))?;
        // SAFETY: the node is the pool's; its data was written before the link that we have acquired, and a
        // linked node is only read.
        let result = hand_over(unsafe { (*next.node).data.read(&site::POP_DATA) });
        self.advance(tail, next, 1);
        Ok(result)
    }

    /// Dequeues up to `limit` of the oldest elements, and hands them over in their order. Returns how many
    /// there were: fewer if the list ended before, or if a producer has still to link its node, and at least
    /// one, unless the limit is 0.
    ///
    /// What each element costs is a link to follow: the tail is written once for all of them, the counter
    /// is decremented once, and their nodes go back to the pool at the end, those of a block at once. They are
    /// not free before that: a batch ends for want of nodes if not before, and producers find the pool
    /// [exhausted] sooner than if the elements were popped one by one.
    ///
    /// [exhausted]: PushError::Exhausted
    ///
    /// A consumer that is killed in a batch leaves all of its elements in the queue; see
    /// [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), if there is not one element.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. All elements of the batch stay in the queue then, also those that were handed
    /// over: the next pop begins with the first of them.
    #[inline]
    pub fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        // SAFETY: we are the consumer.
        let tail = unsafe { self.head.tail() };
        let mut stub = Numbered { node: tail, number: self.stub };
        let mut drained = 0;
        for _ in P::steps(limit) {
            let next = match self.follow(stub.node) {
                Ok(Some(next)) => next,
                Ok(None) if drained == 0 => return Err(self.why_nothing_follows(stub.node)),
                Err(error) if drained == 0 => return Err(error),
                // What stopped us is there for the next batch.
                Ok(None) | Err(_) => break,
            };
            // SAFETY: as in a pop.
            hand_over(unsafe { (*next.node).data.read(&site::POP_DATA) });
            stub = next;
            drained += 1;
        }
        if drained > 0 {
            self.advance(tail, stub, drained);
        }
        Ok(drained)
    }

    /// The node after `stub`, if `stub` is linked.
    #[inline(always)]
    fn follow(&self, stub: *mut Node<P, T>) -> Result<Option<Numbered<Node<P, T>>>, PopError> {
        // SAFETY: a stub is a node of the pool: that was checked in `new`, or here when it was the next one.
        let node = unsafe { &*stub }.next.load(&site::POP_NEXT);
        if node.is_null() {
            return Ok(None);
        }
        let number = self.pool.number(node).ok_or(PopError::Corrupt)?;
        Ok(Some(Numbered { node, number }))
    }

    /// Why the stub leads nowhere.
    #[inline(always)]
    fn why_nothing_follows(&self, stub: *mut Node<P, T>) -> PopError {
        let is_last = self.head.head.load(&site::POP_HEAD) == stub;
        if is_last { PopError::Empty } else { PopError::Busy }
    }

    /// Makes the last node whose element was handed over the stub, and gives those before it back, from the
    /// old stub on. Their nexts are set, so no producer has a use for them.
    #[inline(always)]
    fn advance(
        &mut self,
        old: *mut Node<P, T>,
        Numbered { node, number }: Numbered<Node<P, T>>,
        elements: u64,
    ) {
        // SAFETY: we are the consumer.
        unsafe { self.head.tail.write(node, &site::POP_ADVANCE) };
        let spent = core::mem::replace(&mut self.stub, number);
        self.give_back(old, spent, elements);
        C::decrement(&self.head.count, elements, &site::POP_COUNT);
    }

    /// Gives so many nodes back, from the one with this number on, in the order of the list.
    #[inline(always)]
    fn give_back(&mut self, first: *mut Node<P, T>, number: u64, nodes: u64) {
        let blocks = self.pool.blocks();
        let mut chain = self.unreturned.take();
        let (mut node, mut block, mut run) = (first, blocks.of(number), 1);
        for _ in P::steps(nodes - 1) {
            // SAFETY: the node was the stub, or its element was handed over: it is linked, and nobody's but
            // ours before it is given back.
            node = unsafe { &*node }.next.load(&site::DRAIN_NEXT);
            // Checked when it was followed the first time.
            let Some(number) = self.pool.number(node) else { break };
            if blocks.of(number) == block {
                run += 1;
            } else {
                chain = self.pool.spend(block, run, chain);
                (block, run) = (blocks.of(number), 1);
            }
        }
        chain = self.pool.spend(block, run, chain);
        self.unreturned = chain.and_then(|chain| self.pool.free_chain(chain).err());
    }

    /// Gives back what the pool has not taken yet.
    pub(crate) fn return_unreturned(&mut self) {
        while let Some(chain) = self.unreturned.take() {
            self.unreturned = self.pool.free_chain(chain).err();
        }
    }

    /// The first element, in queue order, for which `found` is true. It stays in the queue. Producers may go
    /// on; elements that are not linked yet, or behind a damaged link, are not seen.
    #[inline]
    pub fn search(&self, mut found: impl FnMut(&T) -> bool) -> Option<T> {
        // SAFETY: we are the consumer, and we rest.
        unsafe { search(self.head, self.pool, &mut found) }.unwrap_or(None)
    }

    /// The number of elements that are linked, by counting them.
    #[inline]
    pub fn len(&self) -> u64 {
        let mut length = 0;
        self.search(|_| {
            length += 1;
            false
        });
        length
    }

    /// Whether the stub is the last node: no element is there, and no producer has begun to link one. It is what
    /// [`PopError::Empty`] says, without a pop.
    #[inline]
    pub fn is_drained(&self) -> bool {
        // SAFETY: we are the consumer.
        let tail = unsafe { self.head.tail() };
        self.head.head.load(&site::POP_HEAD) == tail
    }

    /// Whether no element is linked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.search(|_| true).is_none()
    }

    /// Checks the list while producers go on: every link leads to a node of the pool, and it ends.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify(&self) -> Result<(), Corruption> {
        // SAFETY: we are the consumer, and we rest.
        unsafe { verify(self.head, self.pool) }.map(|_| ())
    }

    /// Checks a queue on which no operation runs: the list ends at the head, and the counter is its length. A
    /// producer that is, or died, between swap and link is reported.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify_quiesced(&self) -> Result<(), Corruption> {
        // SAFETY: we are the consumer, and we rest.
        let (last, length) = unsafe { verify(self.head, self.pool) }?;
        if last != self.head.head.load(&site::INSPECT_HEAD) {
            return Err(Corruption::Unlinked(last.addr() as u64));
        }
        let count = self.head.count.load(&site::INSPECT_COUNT).cast_signed();
        if C::COUNTED && count != length.cast_signed() {
            return Err(Corruption::Count { count, length });
        }
        Ok(())
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Drop for Consumer<'_, P, T, C> {
    fn drop(&mut self) {
        self.return_unreturned();
    }
}

/// [`Consumer::search`] without a consumer.
///
/// # Errors
///
/// [`Corruption`] if there is no list, or it leads out of the pool or in a circle before an element was found;
/// [`Corruption::Unfinished`] if the platform ended the loop before.
///
/// # Safety
///
/// The consumer rests as long as this runs.
#[inline]
pub unsafe fn search<P: Platform, T: Payload, C: CountPolicy>(
    head: &Head<P, T, C>,
    pool: &Pool<P, Node<P, T>>,
    mut found: impl FnMut(&T) -> bool,
) -> Result<Option<T>, Corruption> {
    // SAFETY: the caller is the consumer or knows that it rests.
    let mut node = unsafe { head.tail() };
    if node.is_null() {
        return Err(Corruption::NotInitialised);
    }
    let nodes = pool.limit();
    // Data starts behind the stub.
    let mut is_stub = true;
    let mut done = 0;
    for step in P::steps(nodes) {
        if !pool.owns(node) {
            return Err(Corruption::Link(node.addr() as u64));
        }
        // SAFETY: the node is the pool's, and linked: the consumer rests, so it is not freed.
        let current = unsafe { &*node };
        if !is_stub {
            // SAFETY: the data was written before the link through which we came, and a linked node is only
            // read.
            let value = unsafe { current.data.read(&site::SEARCH_DATA) };
            if found(&value) {
                return Ok(Some(value));
            }
        }
        is_stub = false;
        node = current.next.load(&site::SEARCH_NEXT);
        if node.is_null() {
            return Ok(None);
        }
        done = step + 1;
    }
    Err(if done == nodes { Corruption::Cycle(nodes) } else { Corruption::Unfinished })
}

/// [`Consumer::verify`] without a consumer. Returns the last node that can be reached and the number of those
/// behind the stub.
///
/// # Errors
///
/// What is wrong.
///
/// # Safety
///
/// The consumer rests as long as this runs.
#[inline]
pub unsafe fn verify<P: Platform, T: Payload, C: CountPolicy>(
    head: &Head<P, T, C>,
    pool: &Pool<P, Node<P, T>>,
) -> Result<(*mut Node<P, T>, u64), Corruption> {
    // SAFETY: the caller is the consumer or knows that it rests.
    let mut node = unsafe { head.tail() };
    let last = head.head.load(&site::INSPECT_HEAD);
    if node.is_null() || last.is_null() {
        return Err(Corruption::NotInitialised);
    }
    if !pool.owns(last) {
        return Err(Corruption::Link(last.addr() as u64));
    }
    let nodes = pool.limit();
    let mut done = 0;
    for length in P::steps(nodes) {
        if !pool.owns(node) {
            return Err(Corruption::Link(node.addr() as u64));
        }
        // SAFETY: the node is the pool's, and linked: the consumer rests, so it is not freed.
        let next = unsafe { &*node }.next.load(&site::SEARCH_NEXT);
        if next.is_null() {
            return Ok((node, length));
        }
        node = next;
        done = length + 1;
    }
    Err(if done == nodes { Corruption::Cycle(nodes) } else { Corruption::Unfinished })
}

impl<P: Platform, T: Payload, C: CountPolicy> core::fmt::Debug for Head<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpsc::Head").field("count", &self.count()).finish_non_exhaustive()
    }
}
