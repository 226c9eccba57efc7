//! How the library is linked: so that the loader has little to do with it, in every program that is started.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // One segment for all that is written: no second mapping of it, and nobody who protects a part of it afterwards. What that
    // part holds (addresses of functions, for the most part) stands beside three hundred addresses of libc's functions that
    // the constructor finds: those can be written in any case, and whoever could change the one could change the other.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,norelro");
    // The same with GNU ld as with lld: what is only read lies with the code.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,noseparate-code");
}
