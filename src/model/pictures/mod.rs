//! What a model needs to take pictures, and what its outputs mean.
//!
//! Both stand in the `frameserve.` parameters of a model's configuration, which docs/models.md explains.

mod detector;
mod enlarge;
mod keys;
mod overlap;
mod parameters;
mod picture_output;
mod pixels;
mod segmentation;
mod segmenter;
mod shape;
mod tasks;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

pub use detector::{Corners, Detector, Form, Lists, Unit, json};
pub use picture_output::PictureOutput;
pub use pixels::Converts;
pub use segmenter::{Background, MaskDims, MaskForm, Segmenter};
use shape::{PictureDims, Rows};

use super::signature::{Port, Signature};
use crate::error::{Error, Kind};
use crate::frame::{Detection, Encoded, Encoding, Image, Mask, Need, Size, Workbench};
use crate::limits::Limits;
use crate::tensor::classification::{Activation, Classification, Ranking, classify};
use crate::tensor::image::{Geometry, Preparation, Scratch};
use crate::tensor::{DataType, Dims, Shape, Tensor};

/// The output that a model has besides its own if its task is detection.
pub const DETECTIONS: &str = "detections";

/// Reads a file of labels, one a line, in the model's folder.
pub type ReadLabels<'a> = &'a dyn Fn(&str) -> Result<Arc<[String]>, Error>;

/// How a model takes pictures, and what its outputs mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// Which input takes them.
    pub input: usize,
    /// What its outputs mean; `None`: they are just tensors.
    pub task: Option<Task>,
    /// What makes tensors of pixels, and pixels of tensors; `None` leaves that to the server.
    pub converts: Option<Converts>,
    preparation: Preparation,
    dims: PictureDims,
}

/// What the outputs of a model mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// What a picture shows.
    Classification(Classifier),
    /// Where in a picture something is.
    Detection(Detector),
    /// What each pixel of a picture shows.
    Segmentation(Segmenter),
    /// Another picture.
    Image(PictureOutput),
    /// Numbers by which pictures can be compared.
    Embedding,
}

/// How scores become names.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// The output with a score for each class.
    pub output: usize,
    /// What the scores become where they are shown. The output itself stays as the model gives it.
    pub activation: Activation,
    /// Names of the classes.
    pub labels: Arc<[String]>,
}

/// Pictures of which only the headers were read, and that go together.
struct Batch {
    pictures: Vec<Encoded>,
    prepared: Size,
}

impl Pictures {
    /// Reads the parameters whose names begin with `frameserve.`; `None` if there are none.
    pub fn of(
        parameters: &BTreeMap<String, String>,
        signature: &Signature,
        labels: ReadLabels<'_>,
    ) -> Result<Option<Self>, Error> {
        parameters::read(parameters, signature, labels)
    }

    /// What is done to each picture.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// How many pictures make one tensor, where no batch counts them; `None`: any number, at least one.
    pub fn count(&self) -> Option<usize> {
        match self.dims.rows {
            Rows::Batch(_) | Rows::Leading(None) => None,
            Rows::Leading(count) => count,
            Rows::One => Some(1),
        }
    }

    /// How much of a picture of this size has to be decoded.
    pub fn need(&self, picture: Size) -> Need {
        self.preparation.need(picture)
    }

    /// Bytes that the tensor of these pictures takes, and the largest of them while it is prepared. Reads their
    /// headers, and refuses what [`prepare`](Self::prepare) would refuse by them.
    pub fn memory(&self, pictures: &[Bytes], limits: &Limits) -> Result<usize, Error> {
        let Batch { pictures, prepared } = self.read_headers(pictures, limits)?;
        let pixels = |size: Size| (size.width as usize).saturating_mul(size.height as usize);
        // Decoded, halved both ways, resized, and then split into its channels.
        let most = pictures.iter().map(|picture| {
            let decoded = pixels(picture.size);
            decoded
                .saturating_add(decoded / 4)
                .saturating_add(pixels(self.preparation.working_size(picture.size)))
        });
        let working = most.max().unwrap_or(0).saturating_add(pixels(prepared)).saturating_mul(3);
        Ok(self.byte_len(prepared, pictures.len())?.saturating_add(working))
    }

    /// Decodes pictures into one tensor, and says for each where its parts lie in the picture that came.
    pub fn prepare(
        &self,
        pictures: &[Bytes],
        limits: &Limits,
        bench: &mut Workbench,
    ) -> Result<(Tensor, Vec<Geometry>), Error> {
        let Batch { pictures, prepared } = self.read_headers(pictures, limits)?;
        let mut bytes = vec![0; self.byte_len(prepared, pictures.len())?];
        let row = bytes.len() / pictures.len();
        // Memory of the thread, which is given back below.
        let mut scratch = Scratch::with(std::mem::take(&mut bench.scratch));
        let mut geometry = Vec::with_capacity(pictures.len());
        for (index, (picture, row)) in pictures.iter().zip(bytes.chunks_exact_mut(row)).enumerate() {
            let image = picture.decode(self.need(picture.size), bench);
            let image = image.map_err(|error| of_picture(error, index, pictures.len()))?;
            geometry.push(self.preparation.apply(&image, picture.size, &mut scratch, row)?);
            bench.recycle(image);
        }
        bench.scratch = scratch.into_memory();
        let shape = self.dims.shape_of(self.channels(), prepared, geometry.len());
        Ok((Tensor::raw(self.preparation.datatype(), shape, bytes.into())?, geometry))
    }

    /// One picture that is decoded already, as a batch of its own. It stays as it is.
    pub fn prepare_image(&self, image: &Image, scratch: &mut Scratch) -> Result<(Tensor, Geometry), Error> {
        let size = image.size();
        let prepared = self.prepared_size(size)?;
        self.dims.rows.check(1)?;
        let mut bytes = vec![0; self.byte_len(prepared, 1)?];
        let geometry = self.preparation.apply(image, size, scratch, &mut bytes)?;
        let shape = self.dims.shape_of(self.channels(), prepared, 1);
        Ok((Tensor::raw(self.preparation.datatype(), shape, bytes.into())?, geometry))
    }

    /// Bytes that one picture of this size takes that is decoded already: its tensor, and what is needed on the way.
    pub fn image_memory(&self, picture: Size) -> Result<usize, Error> {
        let prepared = self.prepared_size(picture)?;
        let Size { width, height } = self.preparation.working_size(picture);
        let working = (width as usize).saturating_mul(height as usize).saturating_mul(3);
        Ok(self.byte_len(prepared, 1)?.saturating_add(working))
    }

    /// For pictures that came as a tensor: places in them are places in the tensor.
    pub fn geometry(&self, input: &Shape) -> Result<Vec<Geometry>, Error> {
        let (rows, size) = self.dims.read(input)?;
        Ok(vec![Geometry::identity(size); rows])
    }

    /// What was found in each picture, if that is the model's task. `geometry` says how each was prepared.
    pub fn detections(
        &self,
        outputs: &[Tensor],
        geometry: &[Geometry],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        match &self.task {
            Some(Task::Detection(detector)) => detector.detections(outputs, geometry),
            _ => Err(Error::Unsupported("detection is not this model's task".into())),
        }
    }

    /// What is where in each picture, pixel by pixel, if that is the model's task. `geometry` says how each was
    /// prepared.
    pub fn masks(&self, outputs: &[Tensor], geometry: &[Geometry]) -> Result<Vec<Mask>, Error> {
        match &self.task {
            Some(Task::Segmentation(segmenter)) => segmenter.masks(outputs, geometry),
            _ => Err(Error::Unsupported("segmentation is not this model's task".into())),
        }
    }

    /// What the scores of this output become where they are shown.
    pub fn activation(&self, output: usize) -> Activation {
        match &self.task {
            Some(Task::Classification(classifier)) if classifier.output == output => classifier.activation,
            _ => Activation::None,
        }
    }

    /// Names of the classes that this output's scores are of, as far as they are told here.
    pub fn labels(&self, output: usize) -> &[String] {
        match &self.task {
            Some(Task::Classification(classifier)) if classifier.output == output => &classifier.labels,
            _ => &[],
        }
    }

    /// Whether this output can be had as an encoded picture.
    pub fn gives_picture(&self, output: usize) -> bool {
        match &self.task {
            Some(Task::Image(picture)) => picture.output == output,
            Some(Task::Segmentation(segmenter)) => segmenter.output == output,
            _ => false,
        }
    }

    /// The output of [`gives_picture`](Self::gives_picture), encoded: a BYTES tensor with one element for each.
    pub fn encode(
        &self,
        outputs: &[Tensor],
        geometry: &[Geometry],
        encoding: Encoding,
        bench: &mut Workbench,
    ) -> Result<Tensor, Error> {
        match &self.task {
            Some(Task::Image(picture)) => picture.encode(outputs, encoding, bench),
            Some(Task::Segmentation(segmenter)) => segmenter.encode(outputs, geometry, encoding, bench),
            _ => Err(Error::Unsupported("this model gives no picture".into())),
        }
    }

    /// Whether its outputs mean places in the pictures, which are where [`Geometry`] says.
    pub fn has_places(&self) -> bool {
        matches!(self.task, Some(Task::Detection(_) | Task::Segmentation(_)))
    }

    /// The output that there is besides the model's own: what was found, as [`json`] writes it.
    pub fn added_output(&self) -> Option<Port> {
        let Some(Task::Detection(_)) = self.task else { return None };
        // One for each picture, which the batch counts if there is one.
        let dims = match self.dims.rows {
            Rows::Batch(_) => Dims::default(),
            Rows::One => Dims::new(&[1])?,
            Rows::Leading(count) => Dims::new(&[count.map_or(-1, |count| count as i64)])?,
        };
        let name = DETECTIONS.into();
        Some(Port { name, datatype: DataType::Bytes, dims, reshape: None, optional: false, labels: None })
    }

    fn read_headers(&self, pictures: &[Bytes], limits: &Limits) -> Result<Batch, Error> {
        self.dims.rows.check(pictures.len())?;
        let count = pictures.len();
        let mut batch: Option<Batch> = None;
        for (index, bytes) in pictures.iter().enumerate() {
            let read = self.read_header(bytes, &name(index, count), limits);
            let (picture, prepared) = read.map_err(|error| of_picture(error, index, count))?;
            let batch = batch.get_or_insert(Batch { pictures: Vec::with_capacity(count), prepared });
            if batch.prepared != prepared {
                return Err(Error::Picture(format!(
                    "the pictures of a batch must have one size: picture 0 is prepared as {}, picture {index} as \
                     {prepared} (`frameserve.resize` can bring them to one)",
                    batch.prepared
                )));
            }
            batch.pictures.push(picture);
        }
        batch.ok_or_else(|| Error::Picture("there is no picture".into()))
    }

    fn read_header(&self, bytes: &Bytes, name: &str, limits: &Limits) -> Result<(Encoded, Size), Error> {
        let picture = Encoded::sniffed(bytes.clone())?;
        let Size { width, height } = picture.size;
        limits.check_pixels(name, width, height)?;
        let prepared = self.prepared_size(picture.size)?;
        let Size { width, height } = self.preparation.working_size(picture.size);
        limits.check_pixels(&format!("{name}, once resized,"), width, height)?;
        Ok((picture, prepared))
    }

    /// The size that a picture of this size is prepared as, if the input takes that.
    pub fn prepared_size(&self, picture: Size) -> Result<Size, Error> {
        let prepared = self.preparation.output_size(picture)?;
        self.dims.check(prepared)?;
        Ok(prepared)
    }

    /// The shape of a tensor that holds pictures of this size, prepared: one, or as many as it has to.
    pub fn shape_of(&self, picture: Size) -> Result<Shape, Error> {
        let pictures = if let Rows::Leading(Some(exact)) = self.dims.rows { exact } else { 1 };
        Ok(self.dims.shape_of(self.channels(), self.prepared_size(picture)?, pictures))
    }

    fn channels(&self) -> usize {
        self.preparation.recipe().color.channels()
    }

    fn byte_len(&self, prepared: Size, pictures: usize) -> Result<usize, Error> {
        let bytes = self.preparation.byte_len(prepared).and_then(|row| row.checked_mul(pictures));
        let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
        bytes.ok_or_else(|| Error::Picture(format!("{pictures} pictures of {prepared} are too many")))
    }
}

impl Task {
    /// As configurations write it.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Classification(_) => "classification",
            Task::Detection(_) => "detection",
            Task::Image(_) => "image",
            Task::Segmentation(_) => "segmentation",
            Task::Embedding => "embedding",
        }
    }
}

impl Classifier {
    /// The best of each picture. `rows` is the number of pictures where the output counts them in its first
    /// dimension, as it does where the model has batches.
    pub fn best(
        &self,
        outputs: &[Tensor],
        best: usize,
        rows: Option<usize>,
    ) -> Result<Classification, Error> {
        let scores = output(outputs, self.output)?;
        classify(scores, &Ranking { best, rows, activation: self.activation, labels: &self.labels })
    }
}

/// One of a model's outputs.
fn output(outputs: &[Tensor], index: usize) -> Result<&Tensor, Error> {
    let count = outputs.len();
    outputs.get(index).ok_or_else(|| {
        Error::Model(format!("the model gave {count} outputs, and not the one of number {index}"))
    })
}

fn name(index: usize, count: usize) -> String {
    if count == 1 { "the picture".into() } else { format!("picture {index}") }
}

/// Says which picture of several an error is about, where that can be told to who sent them.
fn of_picture(error: Error, index: usize, count: usize) -> Error {
    match error.kind() {
        Kind::Invalid if count > 1 => Error::Picture(format!("picture {index}: {error}")),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
