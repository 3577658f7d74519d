//! The object for this kernel, of a file that has several.

use std::env::consts::ARCH;
use std::str;

use object::{Object, ObjectSection};

use crate::error::Error;
use crate::instructions::{Instructions, acquire_release, choose};

/// What [`select()`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected<'f> {
    /// Its instructions, if the file says which.
    pub instructions: Option<Instructions>,
    /// The object, for [`ObjectBuilder::open_memory`](libbpf_rs::ObjectBuilder::open_memory).
    pub object: &'f [u8],
}

/// The object that this kernel can run, of a file that `arenaq build` or
/// [`Pipeline::bundle`](arenaq_bpf_build::Pipeline::bundle) has made: the one that is wanted, or the best. A file that does
/// not say what is in it is taken as it is.
///
/// ```no_run
/// use arenaq_libbpf::select;
/// use libbpf_rs::ObjectBuilder;
///
/// let file = std::fs::read("my.bpf.o")?;
/// let open = ObjectBuilder::default().open_memory(select(&file, None)?.object)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::NoObject`] if the file is no BPF object, [`Error::Unsuited`] if what is in it is not for this kernel or machine,
/// or not what is wanted; and as [`choose`].
pub fn select(file: &[u8], wanted: Option<Instructions>) -> Result<Selected<'_>, Error> {
    let elf = object::File::parse(file).map_err(|error| Error::NoObject { reason: error.to_string() })?;
    if !matches!(elf.architecture(), object::Architecture::Bpf) {
        return Err(Error::NoObject { reason: format!("it is made for {:?}", elf.architecture()) });
    }
    let section = |name| elf.section_by_name(name).and_then(|section| section.data().ok());
    let own =
        section(Instructions::SECTION).and_then(|name| Instructions::from_name(str::from_utf8(name).ok()?));
    let Some(own) = own else {
        return match wanted {
            None => Ok(Selected { instructions: None, object: file }),
            Some(wanted) => Err(unsuited(&[], format!("does not say whether it has {}", wanted.name()))),
        };
    };
    let mut objects = vec![(own, file)];
    for other in Instructions::ALL {
        objects.extend(section(other.section()).map(|object| (other, object)));
    }
    let has: Vec<&str> = objects.iter().map(|(instructions, _)| instructions.name()).collect();
    let pick = |wanted| objects.iter().find(|(instructions, _)| *instructions == wanted);
    let best = choose(wanted)?;
    let found = match (pick(best), wanted) {
        (Some(found), _) => Some(found),
        (None, Some(wanted)) => return Err(unsuited(&has, format!("has no {}", wanted.name()))),
        // Slower ones are right too.
        (None, None) => objects.iter().find(|(instructions, _)| runs_here(*instructions)),
    };
    match found {
        Some(&(instructions, object)) => Ok(Selected { instructions: Some(instructions), object }),
        None => {
            Err(unsuited(&has, format!("has nothing that is right on {ARCH} and that this kernel can run")))
        }
    }
}

fn runs_here(instructions: Instructions) -> bool {
    let is_known = instructions != Instructions::AcquireRelease || acquire_release().is_ok();
    is_known && instructions.is_right_on(ARCH)
}

fn unsuited(has: &[&str], what: String) -> Error {
    Error::Unsuited { what, has: has.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::select;
    use crate::error::Error;

    #[test]
    fn what_is_no_bpf_object_is_said_to_be_none() {
        let own = std::fs::read("/proc/self/exe").expect("it runs");
        for file in [&b""[..], b"\x7fELF", b"int main(void) { return 0; }", &own] {
            let Err(Error::NoObject { reason }) = select(file, None) else { panic!("{}", file.len()) };
            assert!(!reason.is_empty());
        }
    }
}
