//! Counts the system calls of a command by CPU, each CPU's in a queue and a thread of its own: `percpu ls -R /usr/share`.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use arenaq_libbpf::{Loaded, Receiver, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::ObjectBuilder;

/// As in percpu.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Call {
    time: u64,
    cpu: u32,
    number: u32,
}
arenaq::element!(Call { time, cpu, number });

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct End {
    pid: u32,
    cpu: u32,
    comm: [u8; 16],
}
arenaq::element!(End { pid, cpu, comm });

const CPUS: usize = 8;

fn main() -> anyhow::Result<()> {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    ensure!(!command.is_empty(), "usage: percpu COMMAND [ARGUMENT...]");
    // A shell that waits for a line and then becomes the command: its process is known before it does anything.
    let mut child = Command::new("sh")
        .args(["-c", "read -r go; exec \"$@\"", "sh"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;

    let object = select(include_bytes!(env!("OBJECT")), None)?.object;
    let mut open = ObjectBuilder::default().open_memory(object)?;
    let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
    let constants = constants.as_mut().and_then(|map| map.initial_value_mut());
    // `tgid` is the only one.
    constants.context("no constants")?[..4].copy_from_slice(&child.id().to_ne_bytes());

    let loaded = Loaded::load(open)?;
    let mut ends = loaded.receiver::<End>("ends")?;
    let done = Arc::new(AtomicBool::new(false));
    let counters: Vec<_> = (0..CPUS)
        .map(|cpu| {
            let (calls, done) = (loaded.receiver::<Call>(&format!("calls[{cpu}]"))?, Arc::clone(&done));
            Ok(thread::spawn(move || count(calls, &done)))
        })
        .collect::<anyhow::Result<_>>()?;
    loaded.attach()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no pipe")?, b"go\n")?;

    let End { pid, cpu, .. } = ends.recv()?;
    println!("process {pid} ended on CPU {cpu}");
    child.wait()?;
    done.store(true, Ordering::Release);
    let mut calls = 0;
    for (cpu, counter) in counters.into_iter().enumerate() {
        let counted = counter.join().expect("it does not panic")?;
        if counted > 0 {
            println!("CPU {cpu}: {counted} system calls");
        }
        calls += counted;
    }
    println!("{calls} system calls");
    for queue in loaded.arena()?.queues() {
        if let Some(dropped) = queue.dropped.filter(|dropped| *dropped != Default::default()) {
            println!("{}: {dropped:?}", queue.name);
        }
    }
    Ok(())
}

/// Counts until all is done and the queue is empty.
fn count(mut calls: Receiver<Call>, done: &AtomicBool) -> Result<u64, arenaq_libbpf::Error> {
    let mut counted = 0;
    loop {
        // Looked at before the queue: what was pushed before it became true is seen then.
        let is_last = done.load(Ordering::Acquire);
        match calls.recv_timeout(Duration::from_millis(if is_last { 0 } else { 100 }))? {
            Some(_) => counted += 1,
            None if is_last => return Ok(counted),
            None => {}
        }
    }
}
