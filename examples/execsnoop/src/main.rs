//! Prints the programs that are started, by everybody or by one process, until Ctrl-C: `execsnoop [PID]`. Two tokio tasks
//! share the queue.

use anyhow::Context;
use arenaq_libbpf::{Loaded, Receiver, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::ObjectBuilder;
use tokio::task::JoinSet;

/// As in execsnoop.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Event {
    time: u64,
    pid: u32,
    parent: u32,
    file: [u8; 128],
}
arenaq::element!(Event { time, pid, parent, file });

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let object = select(include_bytes!(env!("OBJECT")), None)?.object;
    let mut open = ObjectBuilder::default().open_memory(object)?;
    if let Some(parent) = std::env::args().nth(1) {
        let parent: u32 = parent.parse().context("usage: execsnoop [PID]")?;
        let mut constants = open.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".rodata"));
        let constants = constants.as_mut().and_then(|map| map.initial_value_mut());
        // `parent` is the only one.
        constants.context("no constants")?[..4].copy_from_slice(&parent.to_ne_bytes());
    }
    let loaded = Loaded::load(open)?;
    let mut tasks = JoinSet::new();
    for number in 0..2 {
        tasks.spawn(print(number, loaded.receiver("execs")?));
    }
    loaded.attach()?;
    eprintln!("ready");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        ended = tasks.join_next() => ended.context("no task")??,
    }
}

async fn print(number: u32, mut execs: Receiver<Event>) -> anyhow::Result<()> {
    loop {
        let Event { pid, parent, file, .. } = execs.recv_async().await?;
        let file = String::from_utf8_lossy(file.split(|byte| *byte == 0).next().unwrap_or_default());
        println!("task {number}: {parent} started {file} as {pid}");
    }
}
