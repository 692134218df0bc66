//! Certificates for the tests, made by openssl with the commands of docs/tls.md.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::program::succeeds;

/// A folder with an authority's `ca.crt`, and what it signs.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// With `server.crt` for localhost and 127.0.0.1, and its key.
    pub fn new() -> Self {
        let made = Certificates::authority("Test CA");
        made.sign("server", "subjectAltName=DNS:localhost,IP:127.0.0.1");
        made
    }

    /// An authority that has signed nothing yet.
    pub fn authority(name: &str) -> Self {
        let made = Certificates { folder: TempDir::new().unwrap() };
        made.openssl("genrsa -out ca.key 2048");
        let name = name.replace(' ', "_");
        made.openssl(&format!("req -x509 -new -key ca.key -days 365 -out ca.crt -subj /CN={name}"));
        made
    }

    /// A certificate with these extensions, of the key of that name, which is made if there is none.
    pub fn sign(&self, name: &str, extensions: &str) {
        self.sign_for(name, extensions, "365");
    }

    /// The same for so many days, from now on.
    pub fn sign_for(&self, name: &str, extensions: &str, days: &str) {
        if !self.path(&format!("{name}.key")).exists() {
            self.openssl(&format!("genrsa -out {name}.key 2048"));
        }
        self.openssl(&format!("req -new -key {name}.key -out {name}.csr -subj /CN={name}"));
        std::fs::write(self.path(&format!("{name}.ext")), extensions).unwrap();
        let authority = "-CA ca.crt -CAkey ca.key -CAcreateserial";
        let made_of = format!("-in {name}.csr -days {days} -extfile {name}.ext");
        self.openssl(&format!("x509 -req {made_of} {authority} -out {name}.crt"));
    }

    /// Runs one of openssl's commands there.
    pub fn openssl(&self, words: &str) {
        succeeds(Command::new("openssl").args(words.split(' ')).current_dir(&self.folder));
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// As an argument.
    pub fn file(&self, file: &str) -> String {
        self.path(file).to_str().unwrap().into()
    }
}
