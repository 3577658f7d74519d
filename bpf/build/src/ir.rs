//! Turns the host's LLVM IR into IR that the BPF backend takes.

/// The lines of a module that say which machine it is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    layout: String,
    triple: String,
}

impl Target {
    /// The target of a module that clang has compiled for BPF.
    pub(crate) fn of(ir: &str) -> Option<Target> {
        let line = |prefix: &str| ir.lines().find(|line| line.starts_with(prefix)).map(str::to_owned);
        Some(Target { layout: line("target datalayout")?, triple: line("target triple")? })
    }
}

/// rustc's IR for another machine: its target is replaced, and so are the module flags and function
/// attributes that belong to the host. The functions are to be inlined, so that nothing is left of them but
/// the accesses that they make.
pub(crate) fn retarget(ir: &str, target: &Target) -> String {
    let mut result = String::with_capacity(ir.len());
    for line in ir.lines() {
        let line = if line.starts_with("target datalayout") {
            target.layout.clone()
        } else if line.starts_with("target triple") {
            target.triple.clone()
        } else if line.starts_with("!llvm.module.flags") || line.starts_with("!llvm.ident") {
            continue;
        } else if let Some((name, _)) = line.split_once(" = {").filter(|_| is_host_attributes(line)) {
            format!("{name} = {{ alwaysinline nounwind \"no-jump-tables\"=\"true\" }}")
        } else {
            // Nothing unwinds: the crate is compiled with `panic = "abort"`.
            line.replace(" personality ptr @rust_eh_personality", "")
        };
        result.push_str(&line);
        result.push('\n');
    }
    result
}

/// The attribute groups of functions name the host's CPU; those of intrinsics do not, and say what the
/// optimiser must know.
fn is_host_attributes(line: &str) -> bool {
    line.starts_with("attributes #") && line.contains("\"target-cpu\"")
}

#[cfg(test)]
mod tests {
    use super::{Target, retarget};

    const BPF: &str = "target datalayout = \"e-m:e\"\ntarget triple = \"bpf\"\n";

    #[test]
    fn what_belongs_to_the_host_is_replaced() {
        let target = Target::of(BPF).expect("both lines are there");
        let host = "target datalayout = \"e-x86\"\n\
                    target triple = \"x86_64\"\n\
                    define i32 @f() #0 personality ptr @rust_eh_personality {\n\
                    attributes #0 = { nounwind uwtable \"probe-stack\"=\"inline-asm\" \"target-cpu\"=\"x86-64\" }\n\
                    attributes #1 = { nounwind willreturn memory(none) }\n\
                    !llvm.module.flags = !{!0}\n";
        let bpf = retarget(host, &target);
        assert_eq!(
            bpf,
            "target datalayout = \"e-m:e\"\n\
             target triple = \"bpf\"\n\
             define i32 @f() #0 {\n\
             attributes #0 = { alwaysinline nounwind \"no-jump-tables\"=\"true\" }\n\
             attributes #1 = { nounwind willreturn memory(none) }\n"
        );
    }

    #[test]
    fn a_module_without_a_target_is_noticed() {
        assert_eq!(Target::of("define void @f()"), None);
    }
}
