//! What the guest has for a file system: busybox, some programs and the libraries that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cpio::newc::{Builder, ModeFileType, trailer};
use duct::cmd;
use tempfile::TempDir;

use crate::arch::Arch;
use crate::boot::Boot;
use crate::sysroot::Sysroot;

/// The folders on which the script of [`Init`] mounts something, and those that programs expect.
const FOLDERS: [&str; 7] = ["/bin", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp"];

/// The ports of the guest's virtio-serial device. Console and results cannot mix.
pub const PORTS: [&str; 3] = ["stdout", "stderr", "status"];

/// The content of an initramfs.
#[derive(Clone, Debug)]
pub struct Root {
    folders: BTreeSet<String>,
    /// What is where: the file of the host by the path in the guest.
    files: BTreeMap<String, PathBuf>,
    /// Where programs are without what only a debugger reads: most of their size.
    stripped: Arc<TempDir>,
    /// Where another architecture's libraries are.
    sysroot: Option<Sysroot>,
    strip: String,
}

impl Root {
    /// A root with a shell and the usual small programs.
    ///
    /// # Errors
    ///
    /// busybox is missing, or cannot be read; or the libraries of another architecture are missing.
    pub fn new(arch: Arch) -> anyhow::Result<Root> {
        let mut root = Root::empty()?;
        root.folders.extend(FOLDERS.map(str::to_owned));
        let busybox = if arch.is_host() {
            which::which("busybox").context(
                "busybox is missing: `cargo xtask setup` installs it (Debian's package busybox-static)",
            )?
        } else {
            root.strip = format!("{}-strip", arch.multiarch());
            root.sysroot.insert(Sysroot::find(arch)?).busybox()
        };
        root.program(&busybox, "/bin/busybox")?;
        Ok(root)
    }

    fn empty() -> anyhow::Result<Root> {
        let stripped = TempDir::new().context("cannot make a folder for the guest's programs")?;
        Ok(Root {
            folders: BTreeSet::new(),
            files: BTreeMap::new(),
            stripped: Arc::new(stripped),
            sysroot: None,
            strip: "strip".to_owned(),
        })
    }

    /// Puts a program of the host at a place in the guest, with the libraries that it names.
    ///
    /// # Errors
    ///
    /// One of its libraries is missing, or ldd or strip cannot be run on it.
    pub fn program(&mut self, program: &Path, place: &str) -> anyhow::Result<()> {
        let libraries = match &self.sysroot {
            None => libraries(program)?,
            Some(sysroot) => sysroot.needed(program)?,
        };
        for (place, library) in libraries {
            self.file(library, place);
        }
        let stripped = self.stripped.path().join(self.files.len().to_string());
        // Symbols stay: uprobes are attached to them.
        cmd!(&self.strip, "--strip-debug", "-o", &stripped, program)
            .run()
            .with_context(|| format!("cannot strip {}; {} comes with gcc", program.display(), self.strip))?;
        self.file(stripped, place.to_owned());
        Ok(())
    }

    /// Puts a file of the host at a place in the guest, as it is.
    pub fn file(&mut self, file: PathBuf, place: String) {
        if let Some((folder, _)) = place.rsplit_once('/') {
            self.folder(folder);
        }
        self.files.insert(place, file);
    }

    /// Makes a folder, and those above it.
    pub fn folder(&mut self, folder: &str) {
        let above = folder.match_indices('/').map(|(end, _)| &folder[..end]).chain([folder]);
        self.folders.extend(above.filter(|folder| !folder.is_empty()).map(str::to_owned));
    }

    /// Writes the archive, in which init runs one command, and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// The archive cannot be written, or a file cannot be read or is too large for an initramfs.
    pub fn write(&self, archive: &Path, init: &Init) -> anyhow::Result<u64> {
        let mut writer = BufWriter::new(File::create(archive)?);
        let mut inode = 0;
        let mut entry = |place: &str, kind| {
            inode += 1;
            // A path in the archive is relative to the root.
            Builder::new(place.trim_start_matches('/')).ino(inode).mode(0o755).set_mode_file_type(kind)
        };
        for folder in &self.folders {
            entry(folder, ModeFileType::Directory).write(&mut writer, 0).finish()?;
        }
        for (place, file) in &self.files {
            let mut source = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
            let size = u32::try_from(source.metadata()?.len())
                .with_context(|| format!("{} is too large for an initramfs", file.display()))?;
            let mut target = entry(place, ModeFileType::Regular).write(&mut writer, size);
            io::copy(&mut source, &mut target).with_context(|| format!("cannot copy {}", file.display()))?;
            target.finish()?;
        }
        let init = init.script();
        let size = u32::try_from(init.len()).context("a command that is too long")?;
        let mut target = entry("/init", ModeFileType::Regular).write(&mut writer, size);
        target.write_all(init.as_bytes())?;
        target.finish()?;
        trailer(&mut writer)?.flush()?;
        Ok(std::fs::metadata(archive)?.len())
    }
}

/// The libraries that a program names, which have the same place in the guest; none if it is linked statically.
fn libraries(program: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let output = cmd!("ldd", program)
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .run()
        .context("cannot start ldd, which says what libraries a program needs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let libraries = parse_libraries(&text).with_context(|| format!("the program {}", program.display()))?;
    libraries
        .into_iter()
        .map(|library| Ok((library.to_str().context("a library whose path is no text")?.to_owned(), library)))
        .collect()
}

/// Reads lines such as `libc.so.6 => /lib/libc.so.6 (0x7f)` and `/lib64/ld-linux-x86-64.so.2 (0x7f)`.
fn parse_libraries(text: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        anyhow::ensure!(!line.contains("=> not found"), "a library is missing: {}", line.trim());
        let found = line.split_whitespace().find(|word| word.starts_with('/'));
        libraries.extend(found.map(PathBuf::from));
    }
    Ok(libraries)
}

/// What the guest's init does.
#[derive(Clone, Copy, Debug)]
pub struct Init<'a> {
    /// What it runs, as root.
    pub command: &'a [String],
    /// What it is asked for beside the command.
    pub boot: &'a Boot,
    /// How many processors the guest has.
    pub cpus: u32,
}

impl Init<'_> {
    /// Mounts what programs expect, runs the command, and hands back how it ended.
    fn script(&self) -> String {
        let command = self.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        let [stdout, stderr, status] = [1, 2, 3].map(|port| format!("/dev/vport0p{port}"));
        let before = self.boot.before(self.cpus, &status);
        let after = self.boot.after();
        format!(
            "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
ip link set lo up
echo 'root:x:0:0:root:/:/bin/sh' >/etc/passwd
echo 'nobody:x:65534:65534:nobody:/:/bin/false' >>/etc/passwd
{before}{command} </dev/null >{stdout} 2>{stderr}
code=$?
{after}echo $code >{status}
poweroff -f
"
        )
    }
}

/// A word as the shell reads it back.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Init, Root, parse_libraries, quote};
    use crate::boot::Boot;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x00007f3c)\n\tlibelf.so.1 => /lib/libelf.so.1 (0x00007f3c)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f3c)\n";
        let libraries = parse_libraries(text).expect("all are there");
        assert_eq!(libraries, ["/lib/libelf.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert!(parse_libraries("\tnot a dynamic executable\n").expect("none").is_empty());
        let error = parse_libraries("\tliba.so.1 => not found\n").expect_err("missing").to_string();
        assert!(error.contains("liba.so.1"), "{error}");
    }

    #[test]
    fn a_command_reaches_the_guest_as_it_was_written() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        let command = ["arenaq", "run", "--", "sh", "-c", "a; b"].map(str::to_owned);
        let script = Init { command: &command, boot: &Boot::default(), cpus: 1 }.script();
        assert!(script.contains("\n'arenaq' 'run' '--' 'sh' '-c' 'a; b' </dev/null"), "{script}");
    }

    #[test]
    fn the_archive_has_the_files_their_folders_and_init() {
        let place = tempfile::tempdir().expect("a folder");
        let source = place.path().join("source");
        std::fs::write(&source, "content of the file").expect("a file");
        let mut root = Root::empty().expect("a folder");
        root.folder("/dev");
        root.file(source, "/a/b/file".to_owned());

        let archive = place.path().join("archive");
        let init = Init { command: &["true".to_owned()], boot: &Boot::default(), cpus: 1 };
        let size = root.write(&archive, &init).expect("it is written");
        let bytes = std::fs::read(&archive).expect("it is there");
        assert_eq!(bytes.len() as u64, size);

        let mut names = Vec::new();
        let mut rest = bytes.as_slice();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::copy(&mut reader, &mut content).expect("content");
            names.push((reader.entry().name().to_owned(), content.len()));
            rest = reader.finish().expect("the next");
        }
        let names: Vec<_> = names.iter().map(|(name, size)| (name.as_str(), *size > 0)).collect();
        assert_eq!(names, [("a", false), ("a/b", false), ("dev", false), ("a/b/file", true), ("init", true)]);
    }
}
