//! Pictures that stay pixels of 8 bits, for a backend that makes tensors of them where it computes.

use bytes::Bytes;

use super::shape::PictureDims;
use super::{Batch, PictureOutput, Pictures, Task, of_picture};
use crate::error::Error;
use crate::frame::{Image, Size, Workbench};
use crate::limits::Limits;
use crate::tensor::image::{Geometry, Scratch};
use crate::tensor::{DataType, Shape, Tensor};

/// What makes tensors of pixels, and pixels of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converts {
    /// The device that the model runs on: only bytes go there, and a quarter of what floats take.
    Device,
    /// The server's own threads, before and after.
    Host,
}

impl Pictures {
    /// The same as [`prepare`](Self::prepare), but the pictures stay pixels: they have the prepared size, and nothing
    /// else is done to them. A single picture has the channels that it was decoded with, and several those of the
    /// tensor that they will be.
    pub fn prepare_pixels(
        &self,
        pictures: &[Bytes],
        limits: &Limits,
        bench: &mut Workbench,
    ) -> Result<(Tensor, Vec<Geometry>), Error> {
        let Batch { pictures, prepared } = self.read_headers(pictures, limits)?;
        let count = pictures.len();
        let (mut bytes, mut channels) = (Vec::new(), self.channels());
        // Memory of the thread, which is given back below.
        let mut scratch = Scratch::with(std::mem::take(&mut bench.scratch));
        let mut geometry = Vec::with_capacity(count);
        for (index, picture) in pictures.iter().enumerate() {
            let image = picture.decode(self.need(picture.size), bench);
            let image = image.map_err(|error| of_picture(error, index, count))?;
            if index == 0 {
                channels = if count == 1 { channels_of(&image) } else { channels };
                bytes = vec![0; byte_len(prepared, channels, count)?];
            }
            let row = bytes.len() / count;
            let to = &mut bytes[index * row..(index + 1) * row];
            geometry.push(self.preparation.pixels(&image, picture.size, &mut scratch, to)?);
            bench.recycle(image);
        }
        bench.scratch = scratch.into_memory();
        Ok((tensor([count, channels], prepared, bytes)?, geometry))
    }

    /// One picture that is decoded already, as a batch of its own, and with its own channels. It stays as it is.
    pub fn image_pixels(&self, image: &Image, scratch: &mut Scratch) -> Result<(Tensor, Geometry), Error> {
        let size = image.size();
        let prepared = self.prepared_size(size)?;
        self.dims.rows.check(1)?;
        let channels = channels_of(image);
        let mut bytes = vec![0; byte_len(prepared, channels, 1)?];
        let geometry = self.preparation.pixels(image, size, scratch, &mut bytes)?;
        Ok((tensor([1, channels], prepared, bytes)?, geometry))
    }

    /// The shape of the tensor that pixels of this shape become, as a client would send it.
    pub fn shape_of_pixels(&self, pixels: &Shape) -> Result<Shape, Error> {
        let (pictures, size) = PictureDims::pixels().read(pixels)?;
        Ok(self.dims.shape_of(self.channels(), size, pictures))
    }

    /// Black pictures that become a tensor of this shape.
    pub fn blank_pixels(&self, tensor_shape: &Shape) -> Result<Tensor, Error> {
        let (pictures, size) = self.dims.read(tensor_shape)?;
        tensor([pictures, 3], size, vec![0; byte_len(size, 3, pictures)?])
    }

    /// Bytes that one picture of this size takes that is decoded already, and stays pixels: they, and what is needed on
    /// the way.
    pub fn pixels_memory(&self, picture: Size) -> Result<usize, Error> {
        let working = byte_len(self.preparation.working_size(picture), 3, 1)?;
        Ok(byte_len(self.prepared_size(picture)?, 3, 1)?.saturating_add(working))
    }

    /// The output that is a picture, if that is the model's task.
    pub fn picture_output(&self) -> Option<&PictureOutput> {
        match &self.task {
            Some(Task::Image(output)) => Some(output),
            _ => None,
        }
    }
}

fn channels_of(image: &Image) -> usize {
    if image.is_gray() { 1 } else { 3 }
}

fn byte_len(size: Size, channels: usize, pictures: usize) -> Result<usize, Error> {
    let factors = [size.height as usize, channels, pictures];
    let bytes = factors.into_iter().try_fold(size.width as usize, usize::checked_mul);
    let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
    bytes.ok_or_else(|| Error::Picture(format!("{pictures} pictures of {size} are too many")))
}

fn tensor([pictures, channels]: [usize; 2], size: Size, bytes: Vec<u8>) -> Result<Tensor, Error> {
    let shape = vec![pictures, size.height as usize, size.width as usize, channels];
    Tensor::raw(DataType::Uint8, Shape::new(shape), bytes.into())
}
