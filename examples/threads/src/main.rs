//! Threads that share work, without the kernel and without `unsafe`: `threads WORDS...` counts the letters of words.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arenaq::{mpmc, mpsc};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let expected = words.len();
    // Many threads take words from one queue, and one takes the answers from the other.
    let jobs = Arc::new(mpmc::Queue::<String>::new(4));
    let (answer, mut answers) = mpsc::queue::<(String, usize)>(16);
    let done = Arc::new(AtomicBool::new(false));

    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (jobs, answer, done) = (Arc::clone(&jobs), answer.clone(), Arc::clone(&done));
            thread::spawn(move || {
                loop {
                    // Looked at before the pop: what was pushed before it became true is seen then.
                    let is_last = done.load(Ordering::Acquire);
                    match jobs.pop() {
                        Some(word) => count(word, &answer),
                        None if is_last => break,
                        None => thread::yield_now(),
                    }
                }
            })
        })
        .collect();
    // Beside this thread, which takes the answers: a queue that is full waits for who empties it.
    let feeder = thread::spawn(move || {
        for mut word in words {
            while let Err(refused) = jobs.push(word) {
                word = refused;
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Release);
    });

    let mut total = 0;
    for _ in 0..expected {
        let (word, letters) = loop {
            match answers.pop() {
                Some(answer) => break answer,
                None => thread::yield_now(),
            }
        };
        total += letters;
        println!("{letters:>3} {word}");
    }
    println!("{total:>3} in {expected} words");
    feeder.join().expect("it does not panic");
    for worker in workers {
        worker.join().expect("no worker panics");
    }
}

fn count(word: String, answer: &mpsc::queue::Producer<(String, usize)>) {
    let letters = word.chars().count();
    let mut counted = (word, letters);
    while let Err(refused) = answer.push(counted) {
        counted = refused;
        thread::yield_now();
    }
}
