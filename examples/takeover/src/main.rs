//! Two processes consume from one pinned queue, and one of them is killed: the other takes over what it had claimed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, ensure};
use arenaq_libbpf::pinned::{Pinned, unpin};
use arenaq_libbpf::{Loaded, select};
use bytemuck::{Pod, Zeroable};
use libbpf_rs::{ObjectBuilder, ProgramInput};

/// As in takeover.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Number {
    number: u64,
}
arenaq::element!(Number { number });

const NUMBERS: u64 = 20_000;

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).context("usage: takeover FOLDER, a new one in /sys/fs/bpf")?;
    match env::args_os().nth(2) {
        None => produce(Path::new(&folder)),
        Some(_) => consume(Path::new(&folder)),
    }
}

/// What each consumer does until it is killed: a number is in the pipe before it leaves the queue.
fn consume(folder: &Path) -> anyhow::Result<()> {
    let mut numbers = Pinned::attach(folder)?.receiver::<Number>("numbers")?;
    let mut out = std::io::stdout();
    loop {
        // Not `recv`: a number that it has returned is nobody's when we are killed.
        numbers
            .recv_timeout_with(Duration::MAX, |Number { number }| writeln!(out, "{number}"))?
            .transpose()?;
    }
}

fn produce(folder: &Path) -> anyhow::Result<()> {
    let object = select(include_bytes!(env!("OBJECT")), None)?.object;
    let loaded = Loaded::load(ObjectBuilder::default().open_memory(object)?)?;
    loaded.pin(folder, &[])?;
    let result = kill_one(&loaded, folder);
    unpin(folder)?;
    result
}

fn kill_one(loaded: &Loaded, folder: &Path) -> anyhow::Result<()> {
    let consumer = || -> anyhow::Result<Child> {
        let this = env::current_exe()?;
        Ok(Command::new(this).arg(folder).arg("consume").stdout(Stdio::piped()).spawn()?)
    };
    let mut consumers = [consumer()?, consumer()?];
    let (sender, written) = mpsc::channel();
    for child in &mut consumers {
        let (out, sender) = (BufReader::new(child.stdout.take().context("no pipe")?), sender.clone());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    }

    let produce = loaded.object().progs_mut().find(|program| program.name() == "produce");
    let produce = produce.context("no program")?;
    let mut produced = 0;
    while produced < NUMBERS {
        // The queue has 64 cells: it is full most of the time.
        match produce.test_run(ProgramInput::default())?.return_value {
            0 => produced += 1,
            _ => thread::yield_now(),
        }
        if produced == NUMBERS / 2 {
            consumers[0].kill()?;
        }
    }
    let mut seen = BTreeMap::new();
    while (seen.len() as u64) < NUMBERS {
        let line = written.recv_timeout(Duration::from_secs(30)).context("numbers are lost")?;
        *seen.entry(line.parse::<u64>()?).or_insert(0) += 1;
    }
    for consumer in &mut consumers {
        consumer.kill()?;
        consumer.wait()?;
    }
    let twice = seen.values().filter(|times| **times > 1).count();
    println!("{NUMBERS} numbers, {} seen, {twice} of them twice", seen.len());
    ensure!(twice <= 1, "only the one that was being written can come again");
    Ok(())
}
