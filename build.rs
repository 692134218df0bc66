//! Compiles the protocols, and tells the linker where libtorch lies.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    compile_protos();
    if env::var_os("CARGO_FEATURE_TORCH").is_some() {
        link_libtorch();
    }
}

fn compile_protos() {
    println!("cargo:rerun-if-changed=protos");
    println!("cargo:rerun-if-env-changed=PROTOC");
    let protoc = env::var("PROTOC").unwrap_or_else(|_| "protoc".into());
    if Command::new(&protoc).arg("--version").output().is_err() {
        fail("protoc, the protobuf compiler, is missing: run `make setup`, or install protobuf-compiler");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = tonic_prost_build::configure()
        .bytes(".")
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&["protos/imageTest.proto", "protos/grpc_service.proto"], &["protos"]);
    if let Err(error) = compiled {
        fail(&format!("protos: {error}"));
    }
}

/// The programs find libtorch beside the build tree here, and in `../lib` where they were installed.
fn link_libtorch() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = env::var_os("LIBTORCH").unwrap_or_else(|| ".deps/libtorch/torch".into());
    let lib = Path::new(&libtorch).join("lib");
    if !lib.join("libtorch_cpu.so").exists() {
        fail(&format!(
            "there is no libtorch in {}: run `make setup`, or build with --no-default-features",
            lib.display()
        ));
    }
    let text = std::fs::read_to_string(lib.with_file_name("version.py")).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("__version__ = "));
    // Behind the + stands what the wheel could do with all of its libraries, and they need not be there.
    let version = version.and_then(|version| version.trim_matches('\'').split('+').next());
    println!("cargo:rustc-env=LIBTORCH_VERSION={}", version.unwrap_or("unknown"));
    for rpath in ["$ORIGIN/../lib", &lib.display().to_string()] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{rpath}");
    }
}

fn fail(reason: &str) -> ! {
    println!("cargo:error={reason}");
    std::process::exit(1)
}
