//! The shared library's name says with which programs it fits: layouts and functions change with the minor version.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libarenaq.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
