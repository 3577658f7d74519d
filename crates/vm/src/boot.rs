//! What a guest's kernel and its init are asked for, beside the command.

use crate::initramfs::quote;
use crate::preempt::Preempt;

/// How a guest is booted. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// When the kernel takes the processor away; `None`: as it was built.
    pub preempt: Option<Preempt>,
    /// So many of the processors, the last ones, come online only while the command runs.
    pub late_cpus: u32,
    /// More words of the kernel's command line, such as `lockdown=confidentiality`.
    pub parameters: Vec<String>,
    /// Lines of the shell that init runs before the command. Without one of them there is no such guest.
    pub prepare: Vec<String>,
    /// What the command finds in its environment as `ARENAQ_UNDER`: the circumstance's name.
    pub name: Option<String>,
}

impl Boot {
    /// For the kernel's command line, with a space before each word.
    pub(crate) fn parameters(&self, cpus: u32) -> String {
        let preempt = self.preempt.map(|preempt| format!(" preempt={preempt}"));
        let early = (self.late_cpus > 0).then(|| format!(" maxcpus={}", cpus.saturating_sub(self.late_cpus)));
        let more = self.parameters.iter().map(|word| format!(" {word}"));
        [preempt, early].into_iter().flatten().chain(more).collect()
    }

    /// What init does before the command, as lines of its script. It says to `refuse` why the guest cannot be had so.
    pub(crate) fn before(&self, cpus: u32, refuse: &str) -> String {
        let mut lines = String::new();
        if let Some(name) = &self.name {
            lines.push_str(&format!("export ARENAQ_UNDER={}\n", quote(name)));
        }
        for line in &self.prepare {
            let said = quote(&format!("cannot be prepared: `{line}` failed"));
            lines.push_str(&format!("{{ {line}; }} || {{ echo {said} >{refuse}; poweroff -f; }}\n"));
        }
        if let Some(preempt) = self.preempt {
            // The kernel passes over a word that it does not know. One that was built for a single model has no such file, and
            // names its model in the head of a trace: `M:PREEMPTLAZY`, and before 6.15 in other words.
            lines.push_str(&format!(
                "found=$(cat /sys/kernel/debug/sched/preempt 2>/dev/null)
if [ -z \"$found\" ]; then
  echo 1 >/sys/kernel/tracing/options/latency-format
  echo model >/sys/kernel/tracing/trace_marker
  found=$(sed -n 's/.*(\\(M:[^ ]*\\).*/\\1/p' /sys/kernel/tracing/trace |
    sed 's/M:server/(none)/; s/M:desktop/(voluntary)/; s/M:preempt$/(full)/; s/M:lazy/(lazy)/; s/^M:PREEMPT$/(full)/; s/LAZY/ (lazy)/; s/^M://')
  echo 0 >/sys/kernel/tracing/options/latency-format
  echo >/sys/kernel/tracing/trace
  found=\"only ${{found:-an unknown model}}\"
fi
case \"$found\" in
*'({preempt})'*) ;;
*) echo \"cannot have preempt={preempt}: this kernel has $found\" >{refuse}; poweroff -f ;;
esac
"
            ));
        }
        if self.late_cpus > 0 {
            let first = cpus.saturating_sub(self.late_cpus);
            lines.push_str(&format!(
                "(sleep 1
for cpu in $(seq {first} {last}); do
  echo 1 >/sys/devices/system/cpu/cpu$cpu/online || echo \"cannot bring the processor $cpu online\" >{refuse}
done) &
late=$!
",
                last = cpus - 1
            ));
        }
        lines
    }

    /// What init does after the command.
    pub(crate) fn after(&self) -> &'static str {
        // A command that ends sooner has not seen all of them, and its end says nothing of those that did not come.
        if self.late_cpus > 0 { "wait $late\n" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::Boot;
    use crate::preempt::Preempt;

    #[test]
    fn the_default_asks_for_nothing() {
        let boot = Boot::default();
        assert_eq!((&*boot.parameters(4), &*boot.before(4, "/status"), boot.after()), ("", "", ""));
    }

    #[test]
    fn a_kernel_without_the_model_of_preemption_is_refused_with_what_it_has() {
        let boot = Boot { preempt: Some(Preempt::Lazy), ..Boot::default() };
        assert_eq!(boot.parameters(4), " preempt=lazy");
        let script = boot.before(4, "/status");
        assert!(script.contains("*'(lazy)'*) ;;"), "{script}");
        assert!(script.contains("s/M:lazy/(lazy)/"), "a kernel that was built for one model:\n{script}");
        assert!(script.contains("cannot have preempt=lazy: this kernel has $found\" >/status"), "{script}");
    }

    #[test]
    fn what_prepares_a_guest_runs_before_the_command_and_says_if_it_cannot() {
        let prepare = vec!["echo 1 >/proc/sys/kernel/it's".to_owned()];
        let parameters = vec!["lockdown=integrity".to_owned()];
        let boot = Boot { parameters, prepare, name: Some("locked".to_owned()), ..Boot::default() };
        assert_eq!(boot.parameters(4), " lockdown=integrity");
        let script = boot.before(4, "/status");
        assert!(
            script.starts_with("export ARENAQ_UNDER='locked'\n{ echo 1 >/proc/sys/kernel/it's; } ||"),
            "{script}"
        );
        assert!(
            script.contains(r"echo 'cannot be prepared: `echo 1 >/proc/sys/kernel/it'\''s` failed' >/status"),
            "{script}"
        );
    }

    #[test]
    fn late_processors_are_the_last_ones() {
        let boot = Boot { late_cpus: 3, ..Boot::default() };
        assert_eq!(boot.parameters(8), " maxcpus=5");
        assert!(boot.before(8, "/status").contains("$(seq 5 7)"));
        assert_eq!(boot.after(), "wait $late\n");
    }
}
