//! Archives in every form, and those that were made to do harm.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// An archive in zip of these files; those that end with `/` are folders.
pub fn zip(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(method);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        match name.strip_suffix('/') {
            Some(folder) => writer.add_directory(folder, options).unwrap(),
            None => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(bytes).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

/// An archive in tar and gzip of these files, with paths as they are.
pub fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    tarred_of(|builder| {
        for (name, bytes) in files {
            let header = header(EntryType::Regular, name, bytes.len() as u64);
            builder.append(&header, *bytes).unwrap();
        }
    })
}

type Tar = Builder<GzEncoder<Vec<u8>>>;

fn tarred_of(write: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    write(&mut builder);
    builder.into_inner().unwrap().finish().unwrap()
}

/// A header with a path that the library itself would refuse.
fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

fn open(bytes: &[u8]) -> Result<Package, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.mar");
    fs::write(&path, bytes).unwrap();
    Package::open(&path)
}

fn refused(bytes: &[u8]) -> String {
    open(bytes).expect_err("it should be refused").to_string()
}

const MINE: &[(&str, &[u8])] = &[("model.pt", b"weights"), ("a/b.txt", b"text"), (MANIFEST, b"{}")];

#[test]
fn every_form_has_the_same_files() {
    let below: Vec<(String, &[u8])> =
        MINE.iter().map(|(name, bytes)| (format!("mine/{name}"), *bytes)).collect();
    let below: Vec<(&str, &[u8])> = below.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let folder = tempfile::tempdir().unwrap();
    let forms = [
        zip(MINE, CompressionMethod::Deflated),
        zip(MINE, CompressionMethod::Stored),
        tarred(&below),
        tarred(MINE),
        zip(&below, CompressionMethod::Deflated),
    ];
    let mut paths = Vec::new();
    for (index, bytes) in forms.iter().enumerate() {
        paths.push(folder.path().join(format!("{index}.mar")));
        fs::write(&paths[index], bytes).unwrap();
    }
    let plain = folder.path().join("plain");
    for (name, bytes) in MINE {
        let path = plain.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    paths.push(plain);
    for path in paths {
        let package = Package::open(&path).unwrap();
        assert_eq!(package.manifest(), Some(&b"{}"[..]), "{}", path.display());
        let files: Vec<_> = package.files().collect();
        assert_eq!(files, [MANIFEST, "a/b.txt", "model.pt"]);
        let mut found = Vec::new();
        package
            .read(&["model.pt", "a/b.txt", "c"], &mut |name, bytes| {
                found.push((name.to_owned(), read(name, bytes, 7)?));
                Ok(())
            })
            .unwrap();
        found.sort();
        assert_eq!(found, [("a/b.txt".into(), b"text".to_vec()), ("model.pt".into(), b"weights".to_vec())]);
    }
}

#[test]
fn names_with_long_paths_are_read() {
    let long = format!("{}/model.pt", "x".repeat(150));
    let pax = tarred_of(|builder| {
        let records = [("mtime", "1.5"), ("path", long.as_str())];
        builder.append_pax_extensions(records.map(|(key, value)| (key, value.as_bytes()))).unwrap();
        builder.append(&header(EntryType::Regular, "short", 1), &b"x"[..]).unwrap();
    });
    let gnu = tarred_of(|builder| {
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    });
    for bytes in [pax, gnu] {
        let package = open(&bytes).unwrap();
        assert_eq!(package.files().collect::<Vec<_>>(), ["model.pt"]);
    }
}

#[test]
fn paths_lead_nowhere_else() {
    for bad in ["../a", "a/../../b", "/etc/passwd", "a//b", "./../b", "a/..", "a\\..\\b", "a/./b"] {
        let zipped = zip(&[(bad, b"x")], CompressionMethod::Stored);
        assert!(refused(&zipped).contains("leads out of the archive"), "{bad}: {}", refused(&zipped));
        let tarred = tarred(&[(bad, b"x")]);
        assert!(refused(&tarred).contains("leads out of the archive"), "{bad}: {}", refused(&tarred));
        let pax = tarred_of(|builder| {
            builder.append_pax_extensions([("path", bad.as_bytes())]).unwrap();
            builder.append(&header(EntryType::Regular, "a", 1), &b"x"[..]).unwrap();
        });
        assert!(refused(&pax).contains("leads out of the archive"), "{bad}: {}", refused(&pax));
    }
    let long = "x".repeat(2000);
    let zipped = zip(&[(&long, b"x")], CompressionMethod::Stored);
    assert!(refused(&zipped).contains("a path of 2000 bytes, and the limit is 1024"));
}

#[test]
fn links_and_devices_are_refused() {
    for (kind, says) in [
        (EntryType::Symlink, "`model.pt` is a link"),
        (EntryType::Link, "`model.pt` is a link"),
        (EntryType::Fifo, "`model.pt` is neither a file nor a folder"),
        (EntryType::Char, "`model.pt` is neither a file nor a folder"),
        (EntryType::GNUSparse, "`model.pt` is neither a file nor a folder"),
    ] {
        let bytes = tarred_of(|builder| {
            let mut header = header(kind, "model.pt", 0);
            header.set_link_name("/etc/passwd").unwrap();
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        });
        assert!(refused(&bytes).contains(says), "{}", refused(&bytes));
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("model.pt", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    assert!(refused(&writer.finish().unwrap().into_inner()).contains("`model.pt` is a link"));
    let folder = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", folder.path().join("model.pt")).unwrap();
    let error = Package::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`model.pt` is a link"), "{error}");
}

#[test]
fn names_stand_for_one_file() {
    let tarred = tarred(&[("a", b"1"), ("./a", b"2")]);
    assert!(refused(&tarred).contains("there are two files `a`"), "{}", refused(&tarred));
    let mut zipped = zip(&[("aa", b"1"), ("ab", b"2")], CompressionMethod::Stored);
    let places: Vec<_> =
        zipped.windows(2).enumerate().filter(|(_, two)| two == b"ab").map(|(at, _)| at).collect();
    assert_eq!(places.len(), 2);
    places.iter().for_each(|at| zipped[at + 1] = b'a');
    assert!(refused(&zipped).contains("it lists 2 files, and only 1 have a name"), "{}", refused(&zipped));
}

#[test]
fn files_that_share_their_bytes_are_refused() {
    let mut zipped = zip(&[("a", &[1; 100]), ("b", &[1; 100])], CompressionMethod::Stored);
    let second = zipped.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    zipped[second + 42..second + 46].fill(0);
    assert!(refused(&zipped).contains("on top of each other"), "{}", refused(&zipped));
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let bomb = vec![0; 65 << 20];
    let zipped = zip(&[("model.pt", &bomb)], CompressionMethod::Deflated);
    assert!(zipped.len() < 1 << 20);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.mar");
    fs::write(&path, zipped).unwrap();
    let package = Package::open(&path).unwrap();
    let mut taken = 0;
    let error = package.read(&["model.pt"], &mut |name, bytes| {
        let copied = std::io::copy(bytes, &mut std::io::sink()).map_err(|error| unreadable(name, &error));
        taken += copied?;
        Ok(())
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("it unpacks to more than 67108864 bytes, which is the limit"), "{error}");
    // In tar everything has to be unpacked to be passed over.
    assert!(refused(&tarred(&[("model.pt", &bomb)])).contains("it unpacks to more than 67108864 bytes"));
    // A path as long as memory.
    let long = tarred_of(|builder| {
        let header = header(EntryType::GNULongName, "././@LongLink", bomb.len() as u64);
        builder.append(&header, &bomb[..]).unwrap();
    });
    assert!(refused(&long).contains("`a header` has more than 65536 bytes"), "{}", refused(&long));
    let manifest = zip(&[(MANIFEST, &bomb)], CompressionMethod::Deflated);
    assert!(refused(&manifest).contains("`MAR-INF/MANIFEST.json` has more than 1048576 bytes"));
}

#[test]
fn an_archive_has_so_many_files() {
    let names: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert!(refused(&tarred(&files)).contains("it has more than 10000 files and folders"));
    assert!(refused(&zip(&files, CompressionMethod::Stored)).contains("it has more than 10000"));
}

#[test]
fn sizes_that_tar_hides_are_refused() {
    for (key, says) in [("size", "its size in an extended header"), ("GNU.sparse.major", "sparse")] {
        let bytes = tarred_of(|builder| {
            builder.append_pax_extensions([(key, &b"9"[..])]).unwrap();
            builder.append(&header(EntryType::Regular, "a", 1), &b"x"[..]).unwrap();
        });
        assert!(refused(&bytes).contains(says), "{}", refused(&bytes));
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    for bytes in
        [&b""[..], b"P", b"PK", b"no archive at all", b"PK\x03\x04", b"\x1f\x8b", b"\x1f\x8b\x08\0\0"]
    {
        assert!(open(bytes).is_err(), "{bytes:?}");
    }
    assert!(refused(b"x").contains("neither zip, nor tar in gzip, nor a folder"));
    assert!(Package::open(Path::new("/nowhere/m.mar")).unwrap_err().to_string().contains("can't be read"));
}

proptest! {
    #[test]
    fn damage_is_an_error_at_most(
        form in 0..3_usize,
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..6),
    ) {
        let mut bytes = match form {
            0 => zip(MINE, CompressionMethod::Deflated),
            1 => zip(MINE, CompressionMethod::Stored),
            _ => tarred(MINE),
        };
        for (at, by) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        }
        if flips.is_empty() {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(package) = open(&bytes) {
            let files: Vec<&str> = package.files().collect();
            let _perhaps_damaged = package.read(&files, &mut |name, bytes| read(name, bytes, 1 << 20).map(drop));
        }
    }
}
