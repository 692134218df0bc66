//! The pictures of a run, read ahead of the requests on a thread of their own.

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use frameserve::proto::Encoding;
use tokio::sync::mpsc;

use crate::args::InputArgs;
use crate::args::values::Wire;
use crate::failure::Failure;
use crate::picture::Picture;
use crate::source::{Origin, read_picture};
use crate::stream::unlike_others;
use crate::wire::Encoder;

/// What one request is made of.
#[derive(Debug, Clone)]
pub struct Shot {
    /// For reports.
    pub source: String,
    /// For files, and unlike any other's.
    pub stem: String,
    /// Encoded; none for a request that has no picture.
    pub picture: Option<(Encoding, Bytes)>,
}

/// A picture that can't be read, of a source that goes on.
#[derive(Debug, Clone)]
pub struct Unread {
    pub source: String,
    pub failure: Failure,
}

pub type Next = Result<Shot, Unread>;

/// Reads on a thread, at most `ahead` pictures before they are taken.
pub fn read(origins: Vec<Origin>, ahead: usize) -> Result<mpsc::Receiver<Next>, Failure> {
    let (shots, waiting) = mpsc::channel(ahead);
    // What has to be encoded is so without loss: the model sees what the file holds.
    let encoder = Encoder::new(Wire::Png, 100).map_err(Failure::usage)?;
    let mut reader = Reader { encoder, stems: HashMap::new(), shots };
    let reading = move || origins.iter().all(|origin| reader.read(origin));
    thread::Builder::new().name("read".into()).spawn(reading).map_err(Failure::usage)?;
    Ok(waiting)
}

struct Reader {
    encoder: Encoder,
    stems: HashMap<String, usize>,
    shots: mpsc::Sender<Next>,
}

impl Reader {
    /// False when nobody waits any more.
    fn read(&mut self, origin: &Origin) -> bool {
        match origin {
            Origin::Pictures(files) => files.iter().all(|file| self.file(file)),
            other => self.frames(other),
        }
    }

    fn file(&mut self, file: &Path) -> bool {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let picture = read_picture(file);
        self.send(file.display().to_string(), stem, picture)
    }

    /// A source that can't go on after an error.
    fn frames(&mut self, origin: &Origin) -> bool {
        let name = origin.name();
        let mut source = match origin.open(&InputArgs::whole()) {
            Ok(source) => source,
            Err(failure) => return self.send(name.clone(), name, Err(failure)),
        };
        let single = source.facts().frames == Some(1);
        for number in 0_u64.. {
            let (title, stem) = match single {
                true => (name.clone(), name.clone()),
                false => (format!("{name}, frame {number}"), format!("{name}-{number:06}")),
            };
            match source.next() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if !self.send(title, stem, Ok(frame.picture)) {
                        return false;
                    }
                }
                Err(failure) => return self.send(title, stem, Err(failure)),
            }
        }
        true
    }

    fn send(&mut self, source: String, stem: String, picture: Result<Picture, Failure>) -> bool {
        let stem = unlike_others(stem, &mut self.stems);
        let encoded = picture.and_then(|picture| self.encoder.file(picture).map_err(Failure::usage));
        let next = match encoded {
            Ok(picture) => Ok(Shot { source, stem, picture: Some(picture) }),
            Err(failure) => Err(Unread { source, failure }),
        };
        self.shots.blocking_send(next).is_ok()
    }
}
