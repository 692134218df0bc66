//! Who may use whom: the rule of the house, checked on the source.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library, and those that each may use. `error` and `limits` are for all.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("limits", &["error"]),
    ("memory", &[]),
    ("tls", &[]),
    ("writes", &[]),
    ("frame", &[]),
    ("exec", &[]),
    ("proto", &[]),
    ("tensor", &["frame"]),
    ("model", &["exec", "frame", "proto", "tensor"]),
    ("pipeline", &["frame"]),
    ("session", &[]),
    ("config", &["frame", "model", "pipeline"]),
    ("engine", &["config", "exec", "frame", "model", "pipeline", "proto", "session", "tensor"]),
    ("grpc", &["config", "engine", "frame", "model", "pipeline", "proto", "session", "tensor"]),
    ("server", &["config", "engine", "grpc", "proto", "tls", "writes"]),
    ("client", &["proto", "tls", "writes"]),
];

/// Crates that only some places may use.
const CRATES: &[(&str, &[&str])] = &[
    ("tonic", &["src/grpc", "src/server", "src/client", "src/proto"]),
    ("prost", &["src/grpc", "src/server", "src/client", "src/proto", "src/model/config"]),
    ("http_body", &["src/grpc/layer", "src/grpc/mounted", "src/proto/framing"]),
    ("prost_reflect", &["src/client", "src/model/config"]),
    ("miette", &["src/model/config"]),
    ("zip", &["src/model/config", "src/model/archive"]),
    ("tar", &["src/model/archive"]),
    ("flate2", &["src/model/archive"]),
    ("serde_saphyr", &["src/model/archive"]),
    ("base64", &["src/grpc/torchserve"]),
    ("regex", &["src/model/store"]),
    ("ureq", &["src/model/store"]),
    ("rustls", &["src/model/store"]),
    ("tokio_rustls", &["src/tls", "src/server", "src/client"]),
    ("rustls_native_certs", &["src/client"]),
    ("hyper_util", &["src/client"]),
    ("tch", &["src/model/torch"]),
    ("torch_sys", &["src/model/torch"]),
    ("clap", &["src/bin"]),
    ("std::env", &["src/bin"]),
    ("imgcodecs", &["src/bin/client"]),
    ("videoio", &["src/bin/client"]),
];

#[test]
fn modules_use_only_those_below() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix("src") else { continue };
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "bin" || module == "lib" {
            continue;
        }
        let (_, allowed) = LAYERS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{} is a module that the layering test does not know", path.display()));
        for (number, line) in code(&text) {
            for used in uses(line) {
                let known = LAYERS.iter().any(|(name, _)| *name == used);
                let fine = used == module || ["error", "limits"].contains(&used) || allowed.contains(&used);
                if known && !fine {
                    wrong.push(format!("{}:{number}: `{module}` uses `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_written_so_that_they_can_be_checked() {
    for (path, text) in sources() {
        for (number, line) in code(&text) {
            assert!(!line.contains("crate::{"), "{}:{number}: one line for each module", path.display());
        }
    }
}

#[test]
fn crates_are_used_only_where_they_belong() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, places) in CRATES {
            if places.iter().any(|place| path.to_str().unwrap().starts_with(place)) {
                continue;
            }
            for (number, line) in code(&text) {
                let path_use = [format!("{name}::"), format!("use {name};"), format!("opencv::{name}")];
                if path_use.iter().any(|way| words(line, way)) {
                    wrong.push(format!("{}:{number}: `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_server_needs_no_library_that_reads_pictures_or_videos() {
    let ldd =
        std::process::Command::new("ldd").arg(env!("CARGO_BIN_EXE_frameserve-server")).output().unwrap();
    let libraries = String::from_utf8(ldd.stdout).unwrap();
    assert!(libraries.contains("opencv_core"), "{libraries}");
    for unwanted in ["imgcodecs", "videoio", "gdal", "avcodec", "highgui"] {
        assert!(!libraries.contains(unwanted), "{unwanted}: {libraries}");
    }
}

/// Whether `way` stands in the line and is not the end of a longer path or word.
fn words(line: &str, way: &str) -> bool {
    line.match_indices(way)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// First segments of the paths into this crate that stand in a line.
fn uses(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(|(at, way)| {
        let rest = &line[at + way.len()..];
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    })
}

/// Lines that are neither comments nor unit tests, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .take_while(|(_, line)| !line.contains("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(root.join(&path)).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 20, "the source was not found");
    found
}
