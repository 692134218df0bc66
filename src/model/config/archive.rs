//! The configuration that lies inside a TorchScript file, which is a zip archive.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use zip::ZipArchive;

use super::text::{MAX_BYTES, too_long};
use crate::error::Error;

/// Where `torch.jit.save` puts an extra file of this name, below a folder whose name is the archive's own.
const ENTRY: &str = "/extra/frameserve.json";

/// The text of `extra/frameserve.json`; `None` if there is no such archive, or no such file in it.
pub fn read(path: &Path) -> Result<Option<String>, Error> {
    let unreadable =
        |reason: &dyn std::fmt::Display| Error::Load(format!("is no TorchScript archive: {reason}"));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| unreadable(&error))?,
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| unreadable(&error))?;
    let ours =
        |name: &&str| name.strip_suffix(ENTRY).is_some_and(|top| !top.is_empty() && !top.contains('/'));
    let names: Vec<String> = archive.file_names().filter(ours).map(String::from).collect();
    let [name] = names.as_slice() else {
        if names.is_empty() {
            return Ok(None);
        }
        return Err(Error::Load(format!(
            "holds {} configurations, and there may be one: {names:?}",
            names.len()
        )));
    };
    let entry = archive.by_name(name).map_err(|error| unreadable(&error))?;
    // The size that the archive names may be a lie.
    let mut bytes = Vec::new();
    entry.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_long(bytes.len() as u64));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| Error::Load(format!("{name}: {error}")))
}

#[cfg(test)]
pub mod tests {
    use std::io::Write;

    use zip::CompressionMethod;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// An archive of these files.
    pub fn archive(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn read_bytes(bytes: &[u8]) -> Result<Option<String>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn it_is_found_below_any_folder() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            for top in ["archive", "resnet18"] {
                let name = format!("{top}/extra/frameserve.json");
                let bytes = archive(&[("archive/data.pkl", b"x"), (&name, b"{}")], method);
                assert_eq!(read_bytes(&bytes).unwrap().as_deref(), Some("{}"));
            }
        }
        let other = archive(
            &[("a/b/extra/frameserve.json", b"{}"), ("/extra/frameserve.json", b"{}")],
            CompressionMethod::Stored,
        );
        assert_eq!(read_bytes(&other).unwrap(), None);
        assert_eq!(read(Path::new("/nowhere/model.pt")).unwrap(), None);
    }

    #[test]
    fn what_it_can_not_be_is_refused() {
        let two = [("a/extra/frameserve.json", b"{}".as_slice()), ("b/extra/frameserve.json", b"{}")];
        let two = archive(&two, CompressionMethod::Stored);
        assert!(read_bytes(&two).unwrap_err().to_string().contains("holds 2 configurations"));
        let bomb = vec![b' '; 50 << 20];
        let bomb = archive(&[("a/extra/frameserve.json", &bomb)], CompressionMethod::Deflated);
        assert!(bomb.len() < 1 << 20);
        assert!(read_bytes(&bomb).unwrap_err().to_string().contains("limit is 1048576"));
        let good = archive(&[("a/extra/frameserve.json", b"{\"name\": \"m\"}")], CompressionMethod::Deflated);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let _ = read_bytes(&bad);
            let _ = read_bytes(&good[..at]);
        }
        assert!(read_bytes(b"no zip at all").unwrap_err().to_string().contains("no TorchScript archive"));
    }
}
