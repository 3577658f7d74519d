//! What interrupts whatever a CPU does, and runs the program `on_clock` there.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use libbpf_rs::{Link, Object};
use perf_event_open_sys::bindings::{
    PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_SW_CPU_CLOCK, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_HARDWARE,
    PERF_TYPE_SOFTWARE, perf_event_attr,
};
use perf_event_open_sys::perf_event_open;

use crate::error::Error;

/// What interrupts a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The kernel's timer, every 10 microseconds, which is the shortest time that it gives: not where interrupts are off.
    Timer,
    /// The processor's counter, every 50,000 cycles: an NMI on x86-64, so also where interrupts are off. Few virtual machines have
    /// one.
    Cycles,
}

impl Interrupt {
    /// Type, number and period of the event.
    fn event(self) -> (u32, u32, u64) {
        match self {
            Interrupt::Timer => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, 10_000),
            Interrupt::Cycles => (PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 50_000),
        }
    }
}

/// Attaches `on_clock` to such an interrupt of every CPU. They end with the links.
///
/// # Errors
///
/// [`Error::System`] if the machine has no such interrupt, or the kernel does not give it.
pub fn attach(object: &Object, interrupt: Interrupt) -> Result<Vec<Link>, Error> {
    let program = object
        .progs_mut()
        .find(|program| program.name() == "on_clock")
        .ok_or_else(|| Error::Usage("the BPF object has no program on_clock".to_owned()))?;
    let cpus = libbpf_rs::num_possible_cpus().map_err(Error::bpf("counting the CPUs"))?;
    let mut links = Vec::new();
    for cpu in 0..cpus {
        let clock = match open(interrupt, cpu as i32) {
            Ok(clock) => clock,
            // A CPU that could be there and is not.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
            Err(error) => {
                return Err(Error::system(format!("opening an event of {interrupt:?} on CPU {cpu}"))(error));
            }
        };
        let link = program
            .attach_perf_event(clock.as_raw_fd())
            .map_err(Error::bpf(format!("attaching a program to the clock of CPU {cpu}")))?;
        // The link closes it from now on.
        let _ = clock.into_raw_fd();
        links.push(link);
    }
    Ok(links)
}

fn open(interrupt: Interrupt, cpu: i32) -> io::Result<OwnedFd> {
    let (type_, number, period) = interrupt.event();
    let mut attributes = perf_event_attr {
        type_,
        size: size_of::<perf_event_attr>() as u32,
        config: u64::from(number),
        ..perf_event_attr::default()
    };
    attributes.__bindgen_anon_1.sample_period = period;
    let every_task = -1;
    let no_group = -1;
    // SAFETY: the attributes are complete and say how long they are.
    let descriptor = unsafe {
        perf_event_open(&raw mut attributes, every_task, cpu, no_group, PERF_FLAG_FD_CLOEXEC.into())
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened above, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
