//! What a guest's kernel and its init are asked for, beside the command.

use crate::preempt::Preempt;

/// How a guest is booted. The default asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// When the kernel takes the processor away; `None`: as it was built.
    pub preempt: Option<Preempt>,
    /// So many of the processors, the last ones, come online only while the command runs.
    pub late_cpus: u32,
}

impl Boot {
    /// For the kernel's command line, with a space before each word.
    pub(crate) fn parameters(self, cpus: u32) -> String {
        let preempt = self.preempt.map(|preempt| format!(" preempt={preempt}"));
        let early = (self.late_cpus > 0).then(|| format!(" maxcpus={}", cpus.saturating_sub(self.late_cpus)));
        [preempt, early].into_iter().flatten().collect()
    }

    /// What init does before the command, as lines of its script. It says to `refuse` why the guest cannot be had so.
    pub(crate) fn before(self, cpus: u32, refuse: &str) -> String {
        let mut lines = String::new();
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
    pub(crate) fn after(self) -> &'static str {
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
        let boot = Boot { preempt: Some(Preempt::Lazy), late_cpus: 0 };
        assert_eq!(boot.parameters(4), " preempt=lazy");
        let script = boot.before(4, "/status");
        assert!(script.contains("*'(lazy)'*) ;;"), "{script}");
        assert!(script.contains("s/M:lazy/(lazy)/"), "a kernel that was built for one model:\n{script}");
        assert!(script.contains("cannot have preempt=lazy: this kernel has $found\" >/status"), "{script}");
    }

    #[test]
    fn late_processors_are_the_last_ones() {
        let boot = Boot { preempt: None, late_cpus: 3 };
        assert_eq!(boot.parameters(8), " maxcpus=5");
        assert!(boot.before(8, "/status").contains("$(seq 5 7)"));
        assert_eq!(boot.after(), "wait $late\n");
    }
}
