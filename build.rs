//! Compiles the protocols and the bridge to libtorch, and tells the linker where libtorch lies.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Those that define services, and those that others only refer to by name.
const PROTOS: [&str; 8] = [
    "imageTest.proto",
    "grpc_service.proto",
    "torchserve/inference.proto",
    "torchserve/management.proto",
    "torchserve/open_inference.proto",
    "mindspore/ms_service.proto",
    "ray/serve.proto",
    "google/rpc/error_details.proto",
];

/// The protocol of an example. Examples have no build scripts of their own.
const EXAMPLE: &str = "examples/user_defined_protos.proto";

fn main() {
    compile_protos();
    compile_example();
    if env::var_os("CARGO_FEATURE_TORCH").is_some() {
        let libtorch = env::var_os("LIBTORCH").unwrap_or_else(|| ".deps/libtorch/torch".into());
        link_libtorch(Path::new(&libtorch));
        compile_bridge(Path::new(&libtorch));
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
        .codec_path("crate::proto::codec::Codec")
        .file_descriptor_set_path(out.join("descriptors.bin"))
        .compile_protos(&PROTOS.map(|file| format!("protos/{file}")), &["protos".into()]);
    if let Err(error) = compiled {
        fail(&format!("protos: {error}"));
    }
}

/// Where only the library is built, the examples need not be there.
fn compile_example() {
    if !Path::new(EXAMPLE).exists() {
        return;
    }
    println!("cargo:rerun-if-changed={EXAMPLE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("user_defined_protos.bin"))
        .compile_protos(&[EXAMPLE], &["examples"]);
    if let Err(error) = compiled {
        fail(&format!("{EXAMPLE}: {error}"));
    }
}

/// The programs find libtorch beside the build tree here, and in `../lib` where they were installed.
fn link_libtorch(libtorch: &Path) {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let lib = libtorch.join("lib");
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

/// What no crate exposes of libtorch. It is optimised in debug builds too: there it would cost as much as the models.
fn compile_bridge(libtorch: &Path) {
    const FOLDER: &str = "src/model/torch";
    const SOURCES: [&str; 3] = ["libtorch.cpp", "transfer.cpp", "pixels.cpp"];
    let sources = SOURCES.map(|source| Path::new(FOLDER).join(source));
    for file in sources.iter().chain([&Path::new(FOLDER).join("bridge.h")]) {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
    let mut bridge = cc::Build::new();
    bridge.cpp(true).std("c++17").opt_level(2).debug(false).files(&sources);
    bridge.define("_GLIBCXX_USE_CXX11_ABI", abi.as_str());
    for include in ["include", "include/torch/csrc/api/include"] {
        // As a system's folder, so that the compiler's warnings are about our files alone.
        bridge.flag("-isystem").flag(libtorch.join(include));
    }
    if let Err(error) = bridge.try_compile("frameserve_torch") {
        fail(&format!("{FOLDER}: {error}"));
    }
}

fn fail(reason: &str) -> ! {
    println!("cargo:error={reason}");
    std::process::exit(1)
}
