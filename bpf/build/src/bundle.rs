//! One file for every kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pipeline::{Pipeline, extended};
use crate::run::{run, write};
use crate::{Error, Instructions};

impl Pipeline {
    /// Makes all three [`object`](Self::object)s of a program, and puts them into one file: the object with
    /// `load_acquire` and `store_release`, which has the other two in sections of their own
    /// ([`Instructions::section`]) that loaders pass over. `arenaq load` and `arenaq_libbpf::select` take the one that the
    /// kernel can run.
    ///
    /// The file lies beside the objects and is called `my.bpf.o`, for `my.bpf.c`.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn bundle(&self, program: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let [(main, object), others @ ..] = self.objects(program)?;
        let bundle = unnamed(&object, main);
        self.add_sections(&object, main, &others, &bundle)?;
        Ok(bundle)
    }

    /// As [`bundle`](Self::bundle), with one object only: for kernels and machines on which that is right.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn bundle_of_one(&self, program: impl AsRef<Path>, only: Instructions) -> Result<PathBuf, Error> {
        let object = self.make(program.as_ref(), only, self.voice())?;
        let bundle = unnamed(&object, only);
        self.add_sections(&object, only, &[], &bundle)?;
        Ok(bundle)
    }

    fn add_sections(
        &self,
        object: &Path,
        instructions: Instructions,
        others: &[(Instructions, PathBuf)],
        bundle: &Path,
    ) -> Result<(), Error> {
        let name = extended(object, "name");
        write(&name, instructions.name())?;
        let mut objcopy = Command::new(&self.tools.llvm_objcopy);
        let sections = others.iter().map(|(other, object)| (other.section(), object));
        for (section, file) in [(Instructions::SECTION, &name)].into_iter().chain(sections) {
            objcopy.arg(format!("--add-section={section}={}", file.display()));
            // SHT_STRTAB: libbpf tells people of each section that it skips, but for these.
            objcopy.arg(format!("--set-section-type={section}=3"));
        }
        run(objcopy.arg(object).arg(bundle)).map(drop)
    }
}

/// `my.bpf.o`, beside `my.tso.bpf.o`.
fn unnamed(object: &Path, instructions: Instructions) -> PathBuf {
    let name = object.file_name().unwrap_or(object.as_os_str()).to_string_lossy();
    object.with_file_name(name.replace(&format!(".{}.", instructions.name()), "."))
}
