//! How much memory this process may still have. The control group's limit is the hard one: the pages of an arena count towards its
//! limit, and beyond it the kernel does not refuse a page but kills the process.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, MountInfos};
use procfs::{FromBufRead, ProcResult, ProcessCGroups};
use rustix::process::{Resource, getrlimit};

/// The names in one version of the memory controller.
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// What the kernel gives up by itself when memory gets short: files that can be read again.
    caches: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    caches: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Names =
    Names { limit: "memory.max", usage: "memory.current", caches: ["inactive_file", "active_file"] };

/// What is left in bytes, in the group with the least of all that this process is in. `None` if there is no
/// limit, or none that can be seen.
pub fn left() -> Option<u64> {
    own_groups().ok()?.into_iter().filter_map(|(names, mount, group)| tightest(&names, &mount, &group)).min()
}

/// How many bytes this process may still map. `None` if there is no limit (`ulimit -v`), or if it cannot be seen how
/// many are mapped.
pub fn address_space_left() -> Option<u64> {
    let limit = getrlimit(Resource::As).current?;
    let sizes = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = sizes.split(' ').next()?.parse().ok()?;
    Some(limit.saturating_sub(pages * procfs::page_size()))
}

/// The group of this process in each hierarchy with a memory controller, and where that is mounted.
fn own_groups() -> ProcResult<Vec<(Names, PathBuf, PathBuf)>> {
    let mounts: MountInfos = own("mountinfo")?;
    let mut groups = Vec::new();
    for group in own::<ProcessCGroups>("cgroup")? {
        let is_version_2 = group.hierarchy == 0;
        if !is_version_2 && !group.controllers.iter().any(|controller| controller == "memory") {
            continue;
        }
        let is_its_mount = |mount: &&MountInfo| {
            mount.fs_type == if is_version_2 { "cgroup2" } else { "cgroup" }
                && (is_version_2 || mount.super_options.contains_key("memory"))
        };
        if let Some(mount) = mounts.iter().find(is_its_mount) {
            // A container may see a part of the hierarchy only, from its own group on.
            let below = Path::new(&group.pathname).strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let names = if is_version_2 { VERSION_2 } else { VERSION_1 };
            groups.push((names, mount.mount_point.clone(), mount.mount_point.join(below)));
        }
    }
    Ok(groups)
}

/// What a file of this process says. The paths in it need not be UTF-8, and one that is not is no reason to believe
/// nothing.
fn own<T: FromBufRead>(name: &str) -> ProcResult<T> {
    let text = fs::read(Path::new("/proc/self").join(name))?;
    T::from_buf_read(String::from_utf8_lossy(&text).as_bytes())
}

/// What is left in a group or in one of those that it lies in.
fn tightest(names: &Names, mount: &Path, group: &Path) -> Option<u64> {
    group
        .ancestors()
        .take_while(|group| group.starts_with(mount))
        .filter_map(|group| in_group(names, group))
        .min()
}

fn in_group(names: &Names, group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // Version 1 writes "no limit" as the largest number of pages.
    let limit = number(names.limit).filter(|&limit| limit < i64::MAX as u64 / 2)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let caches: u64 = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| names.caches.contains(name))
        .filter_map(|(_, bytes)| bytes.parse::<u64>().ok())
        .sum();
    Some(limit.saturating_sub(number(names.usage)?.saturating_sub(caches)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{VERSION_2, tightest};

    #[test]
    fn the_tightest_group_counts_and_caches_do_not() {
        let mount = tempfile::tempdir().expect("the folder for temporary files is writable");
        let inner = mount.path().join("outer/inner");
        fs::create_dir_all(&inner).expect("it is ours");
        let write = |group: &str, file: &str, text: &str| {
            fs::write(mount.path().join(group).join(file), text).expect("it is ours");
        };
        for (group, limit, usage) in [("outer", "10000\n", "9000\n"), ("outer/inner", "max\n", "100\n")] {
            write(group, "memory.max", limit);
            write(group, "memory.current", usage);
            write(group, "memory.stat", "anon 100\ninactive_file 3000\nactive_file 500\n");
        }
        assert_eq!(tightest(&VERSION_2, mount.path(), &inner), Some(10_000 - (9000 - 3500)));
        write("outer/inner", "memory.max", "200\n");
        assert_eq!(tightest(&VERSION_2, mount.path(), &inner), Some(200), "more is cached than used");
        write("outer", "memory.current", "20000\n");
        assert_eq!(tightest(&VERSION_2, mount.path(), &inner), Some(0));
    }
}
