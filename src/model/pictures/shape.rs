//! Which dimensions of a tensor are those of a picture.

use crate::error::Error;
use crate::frame::Size;
use crate::tensor::image::{Color, Layout};
use crate::tensor::{Dims, Shape};

/// What the dimensions of an input or output mean that holds pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureDims {
    /// How many pictures there are.
    pub rows: Rows,
    /// How their channels lie.
    pub layout: Layout,
    /// Whether there is a dimension for the channels; without one they are gray.
    pub channels: Channels,
    /// `None`: any.
    pub height: Option<u32>,
    /// `None`: any.
    pub width: Option<u32>,
}

/// Whether a dimension counts the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One does.
    Counted,
    /// None does: there is one channel.
    Implied,
}

/// How many pictures a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// As many as the batch has, which is at most this.
    Batch(usize),
    /// As many as the first dimension says; `None`: any number.
    Leading(Option<usize>),
    /// One, without a dimension for that.
    One,
}

/// What a configuration says of the channels, and what they are where it says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub layout: Option<Layout>,
    pub color: Option<Color>,
    pub usual: (Layout, Color),
}

impl PictureDims {
    /// Finds the dimensions of a picture; `max_batch` is that of the signature. The error says what is wrong.
    pub fn of(dims: &Dims, max_batch: usize, wanted: Wanted) -> Result<(Self, Color), String> {
        let none = || format!("its dims {dims} are not those of a picture: {}", expected(max_batch, wanted));
        let all = dims.dims();
        let (rows, dims) = match (max_batch, all) {
            (1.., _) => (Rows::Batch(max_batch), all),
            (0, [first, rest @ ..]) if all.len() == 4 => (Rows::Leading(*first), rest),
            (0, _) => (Rows::One, all),
        };
        let side = |side: Option<usize>| match side.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(side @ 1..)) => Ok(Some(side)),
            Some(_) => Err(none()),
        };
        if rows == Rows::Leading(Some(0)) {
            return Err(none());
        }
        if let [height, width] = *dims {
            if wanted.color.is_some_and(|color| color != Color::Gray) {
                return Err(none());
            }
            let (height, width, layout) = (side(height)?, side(width)?, Layout::Chw);
            return Ok((
                PictureDims { rows, layout, channels: Channels::Implied, height, width },
                Color::Gray,
            ));
        }
        let (layout, color, [height, width]) = channels(dims, wanted).ok_or_else(none)?;
        let (height, width) = (side(height)?, side(width)?);
        Ok((PictureDims { rows, layout, channels: Channels::Counted, height, width }, color))
    }

    /// Whether a picture of this size fits.
    pub fn check(&self, size: Size) -> Result<(), Error> {
        let fits = |side: u32, dim: Option<u32>| dim.is_none_or(|dim| dim == side);
        if fits(size.width, self.width) && fits(size.height, self.height) {
            return Ok(());
        }
        Err(Error::Picture(format!("a picture prepared as {size} is none of the input's {}", self.size())))
    }

    /// Width and height, as far as they do not vary.
    pub fn size(&self) -> String {
        let side = |side: Option<u32>| side.map_or("any".into(), |side| side.to_string());
        format!("{}x{}", side(self.width), side(self.height))
    }

    /// Width and height, those of `picture` where they vary.
    pub fn size_or(&self, picture: Size) -> Size {
        Size::new(self.width.unwrap_or(picture.width), self.height.unwrap_or(picture.height))
    }

    /// The shape of so many pictures.
    pub fn shape_of(&self, channels: usize, size: Size, pictures: usize) -> Shape {
        let (height, width) = (size.height as usize, size.width as usize);
        let pictures = (self.rows != Rows::One).then_some(pictures);
        let picture = match (self.channels, self.layout) {
            (Channels::Implied, _) => vec![height, width],
            (Channels::Counted, Layout::Chw) => vec![channels, height, width],
            (Channels::Counted, Layout::Hwc) => vec![height, width, channels],
        };
        Shape::new(pictures.into_iter().chain(picture).collect())
    }

    /// Whether a dimension counts pictures.
    pub fn counts_pictures(&self) -> bool {
        self.rows != Rows::One
    }

    /// Whether a dimension counts channels.
    pub fn counts_channels(&self) -> bool {
        self.channels == Channels::Counted
    }

    /// That of pictures that are pixels of 8 bits, of any size: their number, rows, columns and channels.
    pub fn pixels() -> Self {
        let (rows, layout, channels) = (Rows::Leading(None), Layout::Hwc, Channels::Counted);
        PictureDims { rows, layout, channels, height: None, width: None }
    }

    /// How many pictures a tensor of this shape holds, and their size.
    pub fn read(&self, shape: &Shape) -> Result<(usize, Size), Error> {
        let none = || Error::Picture(format!("a tensor of shape {shape} holds no pictures"));
        let (rows, picture) = match (self.rows, shape.dims()) {
            (Rows::One, dims) => (1, dims),
            (_, [rows, dims @ ..]) => (*rows, dims),
            (_, []) => return Err(none()),
        };
        let (height, width) = match (self.channels, self.layout, picture) {
            (Channels::Implied, _, [height, width])
            | (Channels::Counted, Layout::Chw, [_, height, width])
            | (Channels::Counted, Layout::Hwc, [height, width, _]) => (*height, *width),
            _ => return Err(none()),
        };
        let side = |side: usize| u32::try_from(side).map_err(|_| none());
        Ok((rows, Size::new(side(width)?, side(height)?)))
    }
}

impl Rows {
    /// Whether so many pictures make one tensor.
    pub fn check(self, pictures: usize) -> Result<(), Error> {
        let range = match self {
            _ if pictures == 0 => "at least 1".into(),
            Rows::Batch(most) if pictures > most => format!("at most {most}, the model's max_batch_size"),
            Rows::Leading(Some(exact)) if pictures != exact => format!("{exact}, as the input's dims say"),
            Rows::One if pictures != 1 => "1, since the input's dims are those of one picture".into(),
            _ => return Ok(()),
        };
        Err(Error::Range { what: "the number of pictures", value: pictures.to_string(), range })
    }
}

/// Layout, color, height and width. A layout in which the number of channels is said goes before one in which it
/// varies, and the usual one before the other.
fn channels(dims: &[Option<usize>], wanted: Wanted) -> Option<(Layout, Color, [Option<usize>; 2])> {
    let [first, second, third] = *dims else { return None };
    let (usual_layout, usual_color) = wanted.usual;
    let other = if usual_layout == Layout::Chw { Layout::Hwc } else { Layout::Chw };
    let layouts = wanted.layout.map_or([usual_layout, other], |layout| [layout; 2]);
    let mut ways = layouts.map(|layout| match layout {
        Layout::Chw => (layout, first, [second, third]),
        Layout::Hwc => (layout, third, [first, second]),
    });
    ways.sort_by_key(|(_, counted, _)| counted.is_none());
    let colors = match wanted.color {
        Some(color) => [color; 2],
        None if usual_color == Color::Gray => [Color::Gray, Color::Rgb],
        None => [usual_color, Color::Gray],
    };
    ways.into_iter().find_map(|(layout, counted, rest)| {
        let fits = |color: &Color| counted.is_none_or(|count| count == color.channels());
        colors.into_iter().find(fits).map(|color| (layout, color, rest))
    })
}

fn expected(max_batch: usize, wanted: Wanted) -> String {
    let color = match wanted.color {
        None => "1 or 3",
        Some(Color::Gray) => "1 (`gray`)",
        Some(Color::Rgb) => "3 (`rgb`)",
        Some(Color::Bgr) => "3 (`bgr`)",
    };
    let layout = match wanted.layout {
        None => "[channels,height,width] or [height,width,channels]",
        Some(Layout::Chw) => "[channels,height,width] (`chw`)",
        Some(Layout::Hwc) => "[height,width,channels] (`hwc`)",
    };
    let batch = if max_batch == 0 { ", with or without a number of pictures before them" } else { "" };
    format!("expected are {layout}{batch}, with channels {color}")
}
