//! A virtual machine that is booted for one command.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::accelerator::Accelerator;
use crate::boot::Boot;
use crate::console;
use crate::crash::CRASHED;
use crate::image::Image;
use crate::initramfs::{Init, PORTS, Root};
use crate::interrupt::{is_interrupted, watch};
use anyhow::{Context, anyhow, bail};

/// An oops ends the guest, and a panic ends QEMU. A kernel that does not come on for a minute, as one whose emulated clock has
/// stopped, panics. The list of LSMs is the same on every kernel, with bpf in it.
const COMMAND_LINE: &str = "loglevel=5 oops=panic panic=-1 rcupdate.rcu_cpu_stall_timeout=60 sysctl.kernel.panic_on_rcu_stall=1 \
                            sysctl.kernel.hung_task_timeout_secs=60 sysctl.kernel.hung_task_panic=1 \
                            lsm=landlock,lockdown,yama,integrity,apparmor,bpf";

/// The guest's memory beyond its files. A queue of the default capacity takes a few MiB of it.
const MEMORY_MIB: u64 = 768;
/// More for each processor: what the kernel, a pool, and records have for each of them.
const MEMORY_FOR_CPU_MIB: u64 = 40;

/// How a line of the guest's status begins that is no exit code.
const CANNOT: &str = "cannot ";

const POLL: Duration = Duration::from_millis(50);

/// What is booted, and how.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel.
    pub image: Image,
    /// The file system.
    pub root: Root,
    /// How its instructions are run.
    pub accelerator: Accelerator,
    /// How many processors it has.
    pub cpus: u32,
    /// What the kernel and init are asked for.
    pub boot: Boot,
    /// A guest that has not ended by then is killed.
    pub time_limit: Duration,
}

/// Whether the command's output is shown while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It is, and kept too.
    Shown,
    /// It is kept only.
    Kept,
}

/// How the command in the guest ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: u8,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// What the guest's kernel wrote on its console.
    pub console: String,
}

/// The end of QEMU, and what it wrote, which is what the command in the guest wrote.
struct Finished {
    status: anyhow::Result<ExitStatus>,
    stdout: String,
    stderr: String,
}

impl Machine {
    /// Boots, runs one command as root, and powers off. How the command ends is no error.
    ///
    /// # Errors
    ///
    /// QEMU fails; or the guest cannot do what [`boot`](Self::boot) asks for; or it does not get to the command's end: its kernel crashes, its time is over, or the user
    /// interrupts it.
    pub fn run(&self, command: &[String], output: Output) -> anyhow::Result<Ended> {
        let folder = tempfile::tempdir().context("cannot make a folder for the guest's files")?;
        let init = Init { command, boot: &self.boot, cpus: self.cpus };
        let size = self
            .root
            .write(&folder.path().join("initramfs"), &init)
            .context("cannot write the guest's file system")?;
        let read = |name: &str| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let finished = self.start(folder.path(), size, output)?;
        let console = read("console");
        let status = read("status");
        if let Some(line) = status.lines().find(|line| line.starts_with(CANNOT)) {
            bail!("the guest {}", line.trim());
        }
        match status.trim().parse() {
            Ok(code) => Ok(Ended { code, stdout: finished.stdout, stderr: finished.stderr, console }),
            Err(_) => Err(finished.without_result(&console, output)),
        }
    }

    fn start(&self, folder: &Path, initramfs: u64, output: Output) -> anyhow::Result<Finished> {
        let mut qemu = Qemu::start(self.command(folder, initramfs))?;
        let streams = (qemu.0.stdout.take(), qemu.0.stderr.take());
        let (Some(stdout), Some(stderr)) = streams else {
            bail!("QEMU has no output");
        };
        let shown = output == Output::Shown;
        thread::scope(|scope| {
            let stdout = scope.spawn(move || keep(stdout, shown.then(std::io::stdout)));
            let stderr = scope.spawn(move || keep(stderr, shown.then(std::io::stderr)));
            let status = qemu.wait(self.time_limit);
            // The threads end with it.
            drop(qemu);
            let join = |thread: thread::ScopedJoinHandle<'_, Vec<u8>>| {
                String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
            };
            Ok(Finished { status, stdout: join(stdout), stderr: join(stderr) })
        })
    }

    fn command(&self, folder: &Path, initramfs: u64) -> Command {
        // The archive and what is unpacked from it are there at the same time.
        let memory = MEMORY_MIB + MEMORY_FOR_CPU_MIB * u64::from(self.cpus) + 2 * initramfs.div_ceil(1 << 20);
        let arch = self.image.arch;
        let parameters = self.boot.parameters(self.cpus);
        let mut command = Command::new(arch.qemu());
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(arch.machine())
            .args(["-accel", self.accelerator.option()])
            .args(["-smp", &self.cpus.to_string(), "-m", &memory.to_string()])
            .arg("-kernel")
            .arg(&self.image.path)
            .arg("-initrd")
            .arg(folder.join("initramfs"))
            .args([
                "-append",
                &format!("console={} {COMMAND_LINE}{}{parameters}", arch.console(), arch.parameters()),
            ])
            .args(["-chardev", "file,id=console,path=console", "-serial", "chardev:console"])
            .args(["-device", "virtio-serial-pci"]);
        // A character device of the kind stdio also reads, and is closed where the input ends.
        let files = ["/dev/stdout", "/dev/stderr", "status"];
        for (number, (port, file)) in PORTS.iter().zip(files).enumerate() {
            command
                .args(["-chardev", &format!("file,id={port},path={file},append=on")])
                .args(["-device", &format!("virtserialport,chardev={port},nr={}", number + 1)]);
        }
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Finished {
    /// Why there is no exit code, with the last of what is known.
    fn without_result(self, console: &str, output: Output) -> anyhow::Error {
        let reason = match self.status {
            Err(error) => format!("{error:#}"),
            Ok(status) if !status.success() => {
                return anyhow!("QEMU failed ({status}): {}", self.stderr.trim());
            }
            Ok(_) => match console::panic(console) {
                Some(line) => format!("{CRASHED}: {line}"),
                None => "the guest went off before the command ended".to_owned(),
            },
        };
        let mut text = format!("{reason}\n{}", console::tail("console", console));
        if output == Output::Kept {
            for (name, stream) in [("standard output", &self.stdout), ("standard error", &self.stderr)] {
                text = format!("{text}\n{}", console::tail(name, stream));
            }
        }
        anyhow::Error::msg(text)
    }
}

/// A running QEMU, which does not outlive this value.
struct Qemu(Child);

impl Qemu {
    fn start(mut command: Command) -> anyhow::Result<Qemu> {
        // Before there is something to kill.
        watch();
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Qemu).with_context(|| format!("cannot start {name}"))
    }

    fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if is_interrupted() {
                bail!("interrupted");
            }
            if let Some(status) = self.0.try_wait().context("cannot wait for QEMU")? {
                return Ok(status);
            }
            if start.elapsed() > limit {
                bail!("the guest did not end within {} s and was killed", limit.as_secs());
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It fails where QEMU has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads to the end, and shows what comes if there is somewhere to show it.
fn keep(mut from: impl Read, mut shown: Option<impl Write>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let part = &buffer[..length];
        all.extend_from_slice(part);
        if let Some(place) = &mut shown {
            // Nobody who reads it is no reason to stop the guest.
            let _ = place.write_all(part).and_then(|()| place.flush());
        }
    }
    all
}
