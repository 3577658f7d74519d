//! Without loom nothing of weaken is left.

#![cfg(not(feature = "loom"))]

use core::sync::atomic as native;

#[test]
fn an_atomic_is_the_one_of_core() {
    let word: native::AtomicU64 = weaken::sync::atomic::AtomicU64::new(3);
    let pointer: native::AtomicPtr<u8> = weaken::sync::atomic::AtomicPtr::default();
    let order: native::Ordering = weaken::sync::atomic::Ordering::Relaxed;
    weaken::name(&word, "word");
    weaken::show(&word, |word| word >> 1);
    assert_eq!(word.load(order), 3);
    assert!(pointer.load(order).is_null());
}

#[test]
fn a_cell_is_as_large_as_what_it_holds() {
    assert_eq!(size_of::<weaken::cell::UnsafeCell<[u8; 3]>>(), 3);
    let cell = weaken::cell::UnsafeCell::new(1_u32);
    // SAFETY: nobody else has the cell.
    cell.with_mut(|value| unsafe { *value += 1 });
    // SAFETY: as above.
    assert_eq!(cell.with(|value| unsafe { *value }), 2);
    assert_eq!(cell.into_inner(), 2);
}
