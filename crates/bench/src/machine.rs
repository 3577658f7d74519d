//! The machine on which a run was made.

use serde::{Deserialize, Serialize};

/// What a reader must know of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Whether a hypervisor is below.
    pub virtualised: bool,
    /// How many CPUs the run could use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The architecture.
    pub architecture: String,
    /// The load average over a minute when the run began: what else the machine did.
    pub load: f64,
    /// The compiler.
    pub rustc: String,
    /// When, in seconds since 1970.
    pub time: u64,
}

impl Machine {
    /// This one. What cannot be found out is empty.
    pub fn here() -> Machine {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            processor: processor(&cpuinfo),
            virtualised: cpuinfo
                .lines()
                .any(|line| line.starts_with("flags") && line.contains(" hypervisor")),
            cpus: crate::cpu::allowed().map_or(0, |cpus| cpus.len()),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            load: load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
            rustc: env!("ARENAQ_BENCH_RUSTC").to_owned(),
            time: now.map_or(0, |since| since.as_secs()),
        }
    }
}

impl Machine {
    /// The day of the run, in UTC.
    pub fn day(&self) -> String {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.time);
        let day = humantime::format_rfc3339_seconds(time).to_string();
        day.split('T').next().unwrap_or_default().to_owned()
    }

    /// The processor's name as that of a file: small letters, digits and hyphens, and one for each processor.
    pub fn file_name(&self) -> String {
        let name = self.processor.replace("(R)", "").replace("(TM)", "").to_ascii_lowercase();
        let words: Vec<_> = name
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() { "unknown".to_owned() } else { words.join("-") }
    }
}

/// The processor's name, with the numbers that tell it from others that call themselves the same.
fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        (Some(name), ..) => name.to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Machine, processor};

    #[test]
    fn a_run_has_its_day() {
        assert_eq!(Machine { time: 1_795_275_679, ..Machine::default() }.day(), "2026-11-21");
    }

    #[test]
    fn a_processor_has_a_file_of_its_own() {
        let file_name = |name: &str| Machine { processor: name.to_owned(), ..Machine::default() }.file_name();
        assert_eq!(file_name("AMD EPYC (family 25, model 17)"), "amd-epyc-family-25-model-17");
        assert_eq!(
            file_name("Intel(R) Xeon(R) Processor (family 6, model 207)"),
            "intel-xeon-processor-family-6-model-207"
        );
        assert_eq!(file_name("../.."), "unknown");
    }

    #[test]
    fn the_processor_is_that_of_the_first_cpu() {
        let cpuinfo = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nmodel name\t: other\n";
        assert_eq!(processor(cpuinfo), "AMD EPYC (family 25, model 17)");
        assert_eq!(processor("Processor: ARM"), "unknown");
    }
}
