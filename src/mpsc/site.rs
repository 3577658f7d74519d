//! The sites of the queue.

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
        .lkmm("xchg_release is enough: the link is stored at an address that the swap returned, and that dependency orders the \
               two. So it does on arm64: swpl is safe already, where this is swpal")
        .seed("3.2 step 3");
    /// The previous node leads to this one.
    PUSH_LINK: Store = Site::store(Release, "mpsc.push.link_node")
        .of(Field::Next)
        .pairs_with(&["mpsc.pop.load_next", "mpsc.search.load_next"])
        .why("the data is written before the consumer that follows the link reads it")
        .lkmm("WRITE_ONCE is enough behind a full xchg, which is a barrier between the data and the link; behind xchg_release \
               it is not")
        .seed("3.2 step 4");
    /// One element more.
    PUSH_COUNT: Add = Site::add(Relaxed, "mpsc.push.increment_count")
        .of(Field::Count)
        .why("a statistic: nothing is decided by it")
        .seed("3.2 count");

    /// The stub, as whoever becomes the consumer finds it. From then on it knows by itself.
    POP_TAIL: Read = Site::read("mpsc.pop.read_tail")
        .of(Field::Tail)
        .why("only the consumer touches the tail")
        .seed("3.3 step 1");
    /// The node after the stub.
    POP_NEXT: Load = Site::load(Acquire, "mpsc.pop.load_next")
        .of(Field::Next)
        .pairs_with(&["mpsc.push.link_node"])
        .why("the producer's write of the data happens before this pop reads it")
        .lkmm("READ_ONCE is enough: the data is read through the pointer that was loaded, an address dependency")
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
        .lkmm("READ_ONCE is enough: the data is read through the pointer that was loaded, an address dependency")
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

    /// A node that is given back by a repair, so that its page is there.
    REPAIR_NODE: Write = Site::write("recovery.repair.write_node")
        .of(Field::Several)
        .why("no list leads to the node; who takes it from the pool acquires what the repair did");

    /// Everything that is written before the queue is handed out.
    INIT: Write = Site::write("mpsc.init.write")
        .of(Field::Several)
        .why("nobody else knows of the queue yet")
        .seed("3.1");
}
