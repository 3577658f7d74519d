//! Programs that only see what the kernel knows. They are written as instructions: to load them takes no object, and to
//! build this crate takes no BPF compiler.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_sys::{
    BPF_ALU64, BPF_ATOMIC, BPF_DW, BPF_EXIT, BPF_F_SLEEPABLE, BPF_JMP, BPF_LOAD_ACQ, BPF_MOV,
    BPF_PROG_TYPE_SYSCALL, BPF_REG_10, BPF_STORE_REL, BPF_STX, bpf_insn, bpf_prog_load, bpf_prog_load_opts,
};
use rustix::io::Errno;

use crate::refusal::Refusal;

/// A program that returns 0.
///
/// # Errors
///
/// What the kernel said.
pub(crate) fn nothing() -> Result<(), Refusal> {
    load(c"probe_syscall", &[zero(0), exit()])
}

/// A program that stores with release and loads with acquire, on its stack: no arena is needed.
///
/// # Errors
///
/// What the kernel said; Linux has these instructions from 6.15 on.
pub(crate) fn acquire_release() -> Result<(), Refusal> {
    let [store, fetch] = acquire_and_release();
    load(c"probe_acquire_release", &[zero(1), store, fetch, zero(0), exit()])
}

/// A store with release of register 1, and a load with acquire into register 0, of the stack's first word.
fn acquire_and_release() -> [bpf_insn; 2] {
    const FRAME: u8 = BPF_REG_10 as u8;
    let atomic = |destination, source, operation: u32| bpf_insn {
        off: -8,
        ..instruction(BPF_STX | BPF_ATOMIC | BPF_DW, destination, source, operation)
    };
    [atomic(FRAME, 1, BPF_STORE_REL), atomic(0, FRAME, BPF_LOAD_ACQ)]
}

fn instruction(code: u32, destination: u8, source: u8, immediate: u32) -> bpf_insn {
    let mut instruction = bpf_insn {
        code: code as u8,
        _bitfield_align_1: [],
        _bitfield_1: Default::default(),
        off: 0,
        imm: immediate as i32,
    };
    instruction.set_dst_reg(destination);
    instruction.set_src_reg(source);
    instruction
}

fn zero(register: u8) -> bpf_insn {
    instruction(BPF_ALU64 | BPF_MOV, register, 0, 0)
}

fn exit() -> bpf_insn {
    instruction(BPF_JMP | BPF_EXIT, 0, 0, 0)
}

/// Loads a program that userspace could run, and takes it away again.
fn load(name: &CStr, instructions: &[bpf_insn]) -> Result<(), Refusal> {
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as _,
        prog_flags: BPF_F_SLEEPABLE,
        ..Default::default()
    };
    // SAFETY: two strings that end with a null byte, as many instructions as there are, and options that say how long
    // they are; all of them live long enough.
    let loaded = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_SYSCALL,
            name.as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as _,
            &raw mut options,
        )
    };
    if loaded < 0 {
        let error = io::Error::from_raw_os_error(-loaded);
        return Err(Refusal::new(&error.into(), messages(name, -loaded)));
    }
    // SAFETY: the descriptor was opened above, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(loaded) });
    Ok(())
}

/// What libbpf would say if the program were one of an object.
fn messages(name: &CStr, number: i32) -> String {
    let names = [(Errno::INVAL, "EINVAL"), (Errno::PERM, "EPERM"), (Errno::ACCESS, "EACCES")];
    let known = names.into_iter().find(|(errno, _)| errno.raw_os_error() == number);
    let code = known.map_or_else(|| number.to_string(), |(_, name)| name.to_owned());
    format!("libbpf: prog '{}': BPF program load failed: -{code}\n", name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::thread::{CapabilitySet, capabilities};

    use super::{acquire_and_release, acquire_release, exit, load, messages, nothing, zero};

    #[test]
    fn a_refusal_is_told_as_libbpf_tells_one() {
        assert_eq!(
            messages(c"p", Errno::INVAL.raw_os_error()),
            "libbpf: prog 'p': BPF program load failed: -EINVAL\n"
        );
        assert_eq!(messages(c"p", 524), "libbpf: prog 'p': BPF program load failed: -524\n");
    }

    #[test]
    fn the_probe_has_the_instructions_that_it_probes_for() {
        // As llvm-mc encodes them: store_release((u64 *)(r10 - 0x8), r1); r0 = load_acquire((u64 *)(r10 - 0x8)).
        let encoded = [(0xdb, 10, 1, -8, 0x110), (0xdb, 0, 10, -8, 0x100)];
        let ours = acquire_and_release().map(|instruction| {
            let (destination, source) = (instruction.dst_reg(), instruction.src_reg());
            (instruction.code, destination, source, instruction.off, instruction.imm)
        });
        assert_eq!(ours, encoded);
    }

    #[test]
    fn the_verifier_follows_the_programs_and_refuses_one_that_is_wrong() {
        let may_load = capabilities(None).is_ok_and(|sets| {
            sets.effective.contains(CapabilitySet::SYS_ADMIN)
                || sets.effective.contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
        });
        if !may_load {
            eprintln!("SKIPPED: this process has no privileges for BPF");
            return;
        }
        nothing().expect("every kernel with arenas has programs that userspace runs");
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match acquire_release() {
            Ok(()) => {}
            Err(refusal) => {
                assert!(version < (6, 15), "{release}: {refusal}");
                let said = refusal.to_string();
                assert!(said.contains("probe_acquire_release") && said.contains("EINVAL"), "{said}");
            }
        }
        // Of a register that nothing was written to.
        let refused = load(c"probe_nothing", &[zero(1), exit()]).expect_err("no result").to_string();
        assert!(refused.contains("(prog 'probe_nothing': BPF program load failed: -"), "{refused}");
    }
}
