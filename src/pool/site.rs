//! The sites of the pool.

use crate::ordering::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::ordering::{Field, Site, sites};

sites! {
    /// Where the nodes are; null in a pool that was never initialised.
    NODES: Read = Site::read("pool.any.read_nodes")
        .of(Field::Room)
        .why("written once, before the pool is handed out");
    /// Where the links of the free list are.
    LINKS: Read = Site::read("pool.any.read_links")
        .of(Field::Room)
        .why("written once, before the pool is handed out");
    /// How many nodes there is room for.
    LIMIT: Read = Site::read("pool.any.read_limit")
        .of(Field::Room)
        .why("written once, before the pool is handed out");

    /// How many nodes a block has.
    BLOCK_SHIFT: Read = Site::read("pool.any.read_block_shift")
        .of(Field::Room)
        .why("written once, before the pool is handed out");

    /// The next node of the magazine.
    ALLOC_MAGAZINE: Load = Site::load(Relaxed, "pool.alloc.load_magazine")
        .of(Field::Magazine)
        .why("a number, through which nothing is read before the claim");
    /// The claim of nodes of the magazine.
    ALLOC_TAKE: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.alloc.take_node")
        .of(Field::Magazine)
        .pairs_with(&["pool.alloc.fill_magazine"])
        .why("success: whoever filled the magazine has acquired what the last owners did to the nodes; the number alone \
              does not say which filling it is of; failure: as the first load");
    /// The first free block.
    ALLOC_TOP: Load = Site::load(Acquire, "pool.alloc.load_top")
        .of(Field::Top)
        .pairs_with(&["pool.free.push_chain"])
        .why("what the last owners did to the nodes happens before the next owner writes them, and the link is there")
        .lkmm("READ_ONCE is enough: the address of the link comes from the value that was loaded, and the claim's cmpxchg, \
               which is a full barrier if it succeeds, stands before the nodes");
    /// The free block after it.
    ALLOC_LINK: Load = Site::load(Relaxed, "pool.alloc.load_link")
        .of(Field::Link)
        .why("may be anything if the block was taken meanwhile: then the tag has moved, and the claim fails");
    /// The claim of the first free block.
    ALLOC_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Acquire, "pool.alloc.claim_block")
        .of(Field::Top)
        .pairs_with(&["pool.free.push_chain"])
        .why("success: a read-modify-write continues the release sequences of the frees below, and the top was acquired \
              when it was read; failure: this is the load of the next attempt")
        .lkmm("failure: it orders nothing, and nothing has to be ordered: the link is read at an address that comes from the \
               value found");
    /// No node of the block is spent.
    ALLOC_RESET: Store = Site::store(Relaxed, "pool.alloc.reset_spent")
        .of(Field::Link)
        .why("the block is its owner's alone; who counts a spent node has it from us, or through the magazine that we fill");
    /// The rest of the block becomes anybody's who comes to the magazine.
    ALLOC_FILL: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.alloc.fill_magazine")
        .of(Field::Magazine)
        .pairs_with(&["pool.alloc.take_node", "pool.steal.take_node"])
        .why("what the last owners did to the nodes has been acquired, and happens before whoever takes one; failure: \
              nothing is read");
    /// The rest of the block, if the magazine is full.
    ALLOC_SPEND: Add = Site::add(Relaxed, "pool.alloc.spend_rest")
        .of(Field::Link)
        .why("nobody has touched these nodes since the block was claimed, and the count of the one that is kept comes after");

    /// The next node of somebody else's magazine.
    STEAL_MAGAZINE: Load = Site::load(Relaxed, "pool.steal.load_magazine")
        .of(Field::Magazine)
        .why("as of the own magazine");
    /// The claim of nodes of somebody else's magazine.
    STEAL_TAKE: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.steal.take_node")
        .of(Field::Magazine)
        .pairs_with(&["pool.alloc.fill_magazine"])
        .why("success: as from the own magazine; failure: nothing is read");

    /// So many nodes of a block are spent.
    FREE_SPEND: FetchAdd = Site::fetch_add(AcqRel, "pool.free.spend_nodes")
        .of(Field::Link)
        .pairs_with(&["pool.free.spend_nodes"])
        .why("release: what the owner did to the nodes happens before the block is pushed, by whoever spends the last of it; \
              acquire: that one has what all the others did");
    /// The top onto which a chain will be pushed.
    FREE_TOP: Load = Site::load(Relaxed, "pool.free.load_top")
        .of(Field::Top)
        .why("only its value goes into the last link: nothing is read through it");
    /// A link inside a chain, or from its last block to the list below.
    FREE_LINK: Store = Site::store(Relaxed, "pool.free.store_link")
        .of(Field::Link)
        .why("released by the push of the chain; atomic because a late alloc may still look at it");
    /// The chain becomes anybody's.
    FREE_PUSH: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.free.push_chain")
        .of(Field::Top)
        .pairs_with(&["pool.alloc.load_top", "pool.alloc.claim_block", "pool.inspect.load_top"])
        .why("the links, and what the owners did to the nodes, happen before whoever takes them; failure: as the first load");

    /// The number of nodes made so far.
    GROW_CREATED: Load = Site::load(Relaxed, "pool.grow.load_created")
        .of(Field::Created)
        .why("only a guess: the claim fails if it is old");
    /// The claim of numbers for new nodes.
    GROW_CLAIM: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.grow.claim_numbers")
        .of(Field::Created)
        .pairs_with(&["pool.cancel.return_numbers"])
        .why("success: what somebody did to the memory of numbers that he gave back happens before it is ours; the nodes are \
              published by the push of their chain; failure: as the first load");

    /// The numbers of a reservation can be claimed again, if nobody has claimed others after them.
    CANCEL_RETURN: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.cancel.return_numbers")
        .of(Field::Created)
        .pairs_with(&["pool.grow.claim_numbers"])
        .why("what was done to the memory happens before the next claim of it; failure: nothing is read");

    /// The number of nodes made so far, as an observer reads it.
    INSPECT_CREATED: Load = Site::load(Relaxed, "pool.inspect.load_created")
        .of(Field::Created)
        .why("the result is old by the time that it is returned, whatever the ordering");
    /// The free list, as an observer of a resting pool follows it.
    INSPECT_TOP: Load = Site::load(Acquire, "pool.inspect.load_top")
        .of(Field::Top)
        .pairs_with(&["pool.free.push_chain"])
        .why("the links of the chain are there");
    /// A link, as an observer of a resting pool follows it.
    INSPECT_LINK: Load = Site::load(Relaxed, "pool.inspect.load_link")
        .of(Field::Link)
        .why("released with the top that leads to it");
    /// A magazine, as an observer of a resting pool reads it.
    INSPECT_MAGAZINE: Load = Site::load(Relaxed, "pool.inspect.load_magazine")
        .of(Field::Magazine)
        .why("a number, through which nothing is read");

    /// The link of a node that is not lost is marked, and later is as before.
    MARK: Store = Site::store(Relaxed, "recovery.repair.store_mark")
        .of(Field::Link)
        .why("pool and queue rest");

    /// Everything that is written before the pool is handed out.
    INIT: Write = Site::write("pool.init.write")
        .of(Field::Several)
        .why("nobody else knows of the pool yet");
}
