//! `cordyceps`: Vyukov's intrusive MPSC list, of nodes that come from the allocator and go back to it.

use std::pin::Pin;
use std::ptr::{self, NonNull};

use anyhow::ensure;
use cordyceps::mpsc_queue::{Consumer, Links};
use cordyceps::{Linked, MpscQueue};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// The list.
pub(crate) struct Cordyceps;

/// A node.
pub(crate) struct Node<T> {
    links: Links<Node<T>>,
    value: T,
}

// SAFETY: a node is on the heap and pinned from `into_ptr` until `from_ptr` takes it back, so it does not
// move while it is linked, and `links` makes no reference to it.
unsafe impl<T> Linked<Links<Node<T>>> for Node<T> {
    type Handle = Pin<Box<Node<T>>>;

    fn into_ptr(handle: Self::Handle) -> NonNull<Self> {
        // SAFETY: the node stays where it is: only its address is taken.
        let node = unsafe { Pin::into_inner_unchecked(handle) };
        NonNull::from(Box::leak(node))
    }

    unsafe fn from_ptr(node: NonNull<Self>) -> Self::Handle {
        // SAFETY: the caller's promise: the pointer is one that `into_ptr` made, and is given back once.
        unsafe { Pin::new_unchecked(Box::from_raw(node.as_ptr())) }
    }

    unsafe fn links(node: NonNull<Self>) -> NonNull<Links<Self>> {
        // SAFETY: the caller's promise: the node is there. A field of it is not null.
        unsafe { NonNull::new_unchecked(ptr::addr_of_mut!((*node.as_ptr()).links)) }
    }
}

fn node<T>(value: T) -> Pin<Box<Node<T>>> {
    Box::pin(Node { links: Links::new(), value })
}

impl<T: Element> Queue<T> for Cordyceps {
    type Producer<'q> = &'q MpscQueue<Node<T>>;
    type Consumer<'q> = Consumer<'q, Node<T>>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q MpscQueue<Node<T>>>, Vec<Consumer<'q, Node<T>>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let stub = Box::pin(Node { links: Links::new_stub(), value: T::zeroed() });
        let queue = MpscQueue::new_with_stub(stub);
        Ok(body(copies(&&queue, ends.producers), vec![queue.consume()]))
    }
}

impl<T: Element> Push<T> for &MpscQueue<Node<T>> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.enqueue(node(value));
        true
    }
}

impl<T: Element> Pop<T> for Consumer<'_, Node<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_dequeue().ok().map(|node| node.value)
    }
}
