//! Structures that are not this crate's, over its platform: with sites of their own, whose orderings a run changes by their names,
//! with every fence, and with a compare-exchange of links.

use std::rc::Rc;
use std::sync::Once;

use arenaq::ordering::Field;
use arenaq::ordering::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use arenaq::ordering::Site;
use arenaq::platform::{C11, Link, Native, Plain, Platform, Word};
use arenaq::weakened;

use crate::explained::with_ordering;
use crate::model::{Loom, Model, Outcomes, join, spawn};

arenaq::sites! {
    /// The value of a node that nobody has seen yet.
    PUT: Write = Site::write("stack.push.write_value").of(Field::Named("value"));
    /// What is on top.
    LOOK: Load = Site::load(Relaxed, "stack.push.load_top").of(Field::NamedPointer("top"));
    /// The node below one that nobody has seen yet.
    BELOW: Write = Site::write("stack.push.init_below").of(Field::NamedPointer("below"));
    /// A node becomes the top.
    PUSH: CompareExchange = Site::compare_exchange(Release, Relaxed, "stack.push.publish")
        .of(Field::NamedPointer("top"))
        .why("the node is written before it is found");
    /// All nodes are taken at once.
    TAKE: Swap = Site::swap(Acquire, "stack.take.swap_top").of(Field::NamedPointer("top")).why("what is found was written before");
    /// The node below.
    NEXT: Load = Site::load(Relaxed, "stack.take.load_below").of(Field::NamedPointer("below"));
    /// The value of a node that is this thread's.
    GET: Read = Site::read("stack.take.read_value").of(Field::Named("value"));
    /// A thread says that it wants to go in.
    WANT: Store = Site::store(Relaxed, "door.enter.store_mine").of(Field::Named("wish"));
    /// And then looks whether the other does.
    DOOR: Fence = Site::fence(SeqCst, "door.enter.fence")
        .of(Field::Nothing)
        .why("of two that both say so and then look, one sees the other");
    /// Whether the other wants to.
    OTHER: Load = Site::load(Relaxed, "door.enter.load_other").of(Field::Named("wish"));
    /// How often both went in, which an only thread counts.
    COUNT: FetchAdd = Site::fetch_add(AcqRel, "door.enter.count").of(Field::Named("inside"));
}

/// What a run may change is said before the first access.
fn declared() {
    static DECLARED: Once = Once::new();
    DECLARED.call_once(|| weakened::declare(ALL));
}

struct Node<P: Platform> {
    value: P::Plain<u64>,
    below: P::Link<Node<P>>,
}

/// Treiber's stack, of which all is taken at once: so no node is there twice.
struct Stack<P: Platform> {
    top: P::Link<Node<P>>,
    nodes: Box<[Node<P>]>,
}

// SAFETY: a node's value is written by the one thread that pushes it, before others find it, and read by the one that takes it.
unsafe impl<P: Platform> Sync for Stack<P> {}

impl<P: C11> Stack<P> {
    fn new(nodes: usize) -> Stack<P> {
        let node = |_| Node { value: P::Plain::uninit(), below: P::Link::new(core::ptr::null_mut()) };
        Stack { top: P::Link::new(core::ptr::null_mut()), nodes: (0..nodes).map(node).collect() }
    }

    fn push(&self, node: usize, value: u64) {
        let node = &self.nodes[node];
        // SAFETY: each node is pushed once, by one thread, so nobody else knows of it.
        unsafe { node.value.write(value, &PUT) };
        let mut top = self.top.load(&LOOK);
        loop {
            // SAFETY: as above.
            unsafe { node.below.init(top, &BELOW) };
            let mine = (&raw const *node).cast_mut();
            match P::compare_exchange(&self.top, top, mine, &PUSH) {
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
    }

    fn take(&self) -> Vec<u64> {
        let mut values = Vec::new();
        let mut top = self.top.swap(core::ptr::null_mut(), &TAKE);
        // SAFETY: links are null or lead to nodes of the stack, which live as long as it does.
        while let Some(node) = unsafe { top.as_ref() } {
            // SAFETY: the swap has acquired what those wrote who pushed, and the nodes are this thread's.
            values.push(unsafe { node.value.read(&GET) });
            top = node.below.load(&NEXT);
        }
        values
    }
}

#[test]
fn a_stack_hands_each_value_to_one_who_takes() {
    declared();
    Model {
        name: "own: a stack, 2 threads x push, and take",
        preemption_bound: None,
        at_least: 10,
        outcomes: &["0 taken", "1 taken", "2 taken"],
    }
    .check(|outcomes| {
        let stack = Rc::new(Stack::<Loom>::new(2));
        let pushes = [0, 1].map(|node| {
            spawn(&stack, outcomes, move |stack: &Stack<Loom>, _: &Outcomes| {
                stack.push(node, node as u64 + 1);
            })
        });
        let mut taken = stack.take();
        outcomes.saw(["0 taken", "1 taken", "2 taken"][taken.len()]);
        join(pushes);
        taken.extend(stack.take());
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn the_same_stack_on_real_threads() {
    const EACH: usize = 10_000;
    let stack = Stack::<Native>::new(3 * EACH);
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let stack = &stack;
            scope.spawn(move || {
                (thread * EACH..(thread + 1) * EACH).for_each(|node| stack.push(node, node as u64));
            });
        }
        while taken.len() < 3 * EACH {
            taken.extend(stack.take());
        }
    });
    taken.sort_unstable();
    assert!(taken.iter().copied().eq(0..3 * EACH as u64), "each once");
}

/// Two wishes: of two threads that each say theirs and then look at the other's, one at most finds none.
struct Door<P: Platform> {
    wishes: [P::Word; 2],
    inside: P::Word,
}

impl<P: C11> Door<P> {
    fn enter(&self, thread: usize) -> bool {
        self.wishes[thread].store(1, &WANT);
        P::fence(&DOOR);
        let alone = self.wishes[1 - thread].load(&OTHER) == 0;
        alone && {
            self.inside.fetch_add(1, &COUNT);
            true
        }
    }
}

#[test]
fn a_fence_lets_one_of_two_in_at_most() {
    declared();
    Model {
        name: "own: a door with a fence, 2 threads",
        preemption_bound: None,
        at_least: 4,
        outcomes: &["nobody", "one"],
    }
    .check(|outcomes| {
        let word = || <Loom as Platform>::Word::new(0);
        let door = Rc::new(Door::<Loom> { wishes: [word(), word()], inside: word() });
        let threads =
            [0, 1].map(|thread| spawn(&door, outcomes, move |door: &Door<Loom>, _| door.enter(thread)));
        let inside = join(threads).iter().filter(|entered| **entered).count();
        assert!(inside < 2, "both are inside");
        outcomes.saw(["nobody", "one"][inside]);
    });
}

#[test]
fn a_run_changes_an_ordering_of_a_site_that_is_not_this_crate_s() {
    const STACK: &str = "own::a_stack_hands_each_value_to_one_who_takes";
    const DOOR: &str = "own::a_fence_lets_one_of_two_in_at_most";
    for (change, model, fails, said) in [
        (
            "stack.push.publish=Relaxed/Relaxed",
            STACK,
            true,
            "is Relaxed instead of Release at stack.push.publish",
        ),
        ("stack.take.swap_top=Relaxed", STACK, true, "is Relaxed instead of Acquire at stack.take.swap_top"),
        ("stack.push.load_top=Acquire", STACK, false, "permutations"),
        ("door.enter.fence=AcqRel", DOOR, true, "is AcqRel instead of SeqCst at door.enter.fence"),
        ("door.enter.count=Relaxed", DOOR, false, "permutations"),
        ("stack.push.publush=Relaxed", STACK, true, "near it are stack.push.publish"),
    ] {
        let (output, _folder) = with_ordering(change, model);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), !fails, "{change}: {text}");
        assert!(text.contains(said), "{change}: {said}: {text}");
    }
}
