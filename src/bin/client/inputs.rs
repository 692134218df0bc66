//! What a model's inputs are filled with: files, or made-up values of the right type and shape.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use frameserve::proto::inference::model_metadata_response::TensorMetadata;
use frameserve::tensor::{DataType, Dims, Shape, Tensor};

use crate::failure::Failure;
use crate::npy;
use crate::tensors::Named;
use made_up::{make_up, narrowed};

/// `NAME=FILE`, or `NAME=ones`, `zeros` or `random`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenInput {
    pub name: String,
    pub filling: Filling,
}

/// Where values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    Ones,
    Zeros,
    /// The same in every run: 0 to 1 for fractions, 0 to 255 for whole numbers.
    Random,
    File(PathBuf),
}

/// `NAME=1,3,224,224`, or `NAME=FP32:1,3,224,224` where the server doesn't tell the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenShape {
    pub name: String,
    pub datatype: Option<DataType>,
    pub dims: Vec<usize>,
}

/// All that is known of a model's inputs.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// As the server describes them; a server may describe none.
    pub described: &'a [TensorMetadata],
    pub given: &'a [GivenInput],
    pub shapes: &'a [GivenShape],
}

impl FromStr for GivenInput {
    type Err = String;

    fn from_str(text: &str) -> Result<GivenInput, String> {
        let (name, filling) = text
            .split_once('=')
            .filter(|(name, filling)| !name.is_empty() && !filling.is_empty())
            .ok_or("expected NAME=FILE.npy, NAME=ones, NAME=zeros or NAME=random")?;
        let filling = match filling {
            "ones" => Filling::Ones,
            "zeros" => Filling::Zeros,
            "random" => Filling::Random,
            file => Filling::File(file.into()),
        };
        Ok(GivenInput { name: name.into(), filling })
    }
}

impl FromStr for GivenShape {
    type Err = String;

    fn from_str(text: &str) -> Result<GivenShape, String> {
        let expected = "expected NAME=1,3,224,224, or NAME=FP32:1,3,224,224";
        let (name, rest) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(expected)?;
        let (datatype, dims) = match rest.split_once(':') {
            None => (None, rest),
            Some((datatype, dims)) => {
                let known = DataType::from_name(datatype);
                (Some(known.ok_or_else(|| format!("'{datatype}' is no datatype, such as FP32"))?), dims)
            }
        };
        let dims = dims.split(',').filter(|_| !dims.is_empty());
        let dims =
            dims.map(|dim| dim.trim().parse().map_err(|_| format!("'{dim}' is no dimension: {expected}")));
        Ok(GivenShape { name: name.into(), datatype, dims: dims.collect::<Result<_, _>>()? })
    }
}

impl Inputs<'_> {
    /// Fails where an option names an input that the model hasn't got.
    pub fn check(&self) -> Result<(), Failure> {
        let known: Vec<&str> = self.described.iter().map(|input| input.name.as_str()).collect();
        let given = self.given.iter().map(|given| ("--input", &given.name));
        let shapes = self.shapes.iter().map(|shape| ("--shape", &shape.name));
        for (option, name) in given.chain(shapes) {
            if !known.is_empty() && !known.contains(&name.as_str()) {
                return Err(Failure::usage(format!(
                    "{option}: the model has no input '{name}'; it has {}",
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The names of all inputs: the described ones, or else those that options name.
    pub fn names(&self) -> Vec<&str> {
        if !self.described.is_empty() {
            return self.described.iter().map(|input| input.name.as_str()).collect();
        }
        let shapes = self.shapes.iter().map(|shape| shape.name.as_str());
        let mut names: Vec<&str> = self.given.iter().map(|given| given.name.as_str()).collect();
        names.extend(shapes.filter(|name| self.given.iter().all(|given| given.name != *name)));
        names
    }

    /// The input's values, if an option says what they are.
    pub fn filled(&self, name: &str) -> Option<Result<Named, Failure>> {
        self.given.iter().find(|given| given.name == name).map(|given| self.fill(name, &given.filling))
    }

    /// The input's values.
    pub fn fill(&self, name: &str, filling: &Filling) -> Result<Named, Failure> {
        let tensor = match filling {
            Filling::File(path) => self.of_file(name, path)?,
            made_up => {
                let datatype = self.datatype(name)?;
                make_up(datatype, self.shape(name)?, made_up)?
            }
        };
        Ok(Named { name: name.into(), tensor })
    }

    /// Type and shape in words, for errors.
    pub fn describe(&self, name: &str) -> String {
        let described = self.described.iter().find(|input| input.name == name);
        described.map_or_else(String::new, |input| {
            let dims: Vec<String> = input.shape.iter().map(i64::to_string).collect();
            format!("{} [{}]", input.datatype, dims.join(","))
        })
    }

    fn of_file(&self, name: &str, path: &Path) -> Result<Tensor, Failure> {
        let described = self.datatype(name).ok();
        let is_npy = path.extension().is_some_and(|extension| extension == "npy");
        if described == Some(DataType::Bytes) && !is_npy {
            let bytes = fs::read(path)
                .map_err(|error| Failure::usage(format!("cannot read '{}': {error}", path.display())))?;
            let shape = self.shape(name).unwrap_or_else(|_| Shape::new(vec![1]));
            return Tensor::elements(shape.clone(), vec![bytes.into()]).map_err(|_| {
                Failure::usage(format!("--input {name}: a file is one element, and {shape} has more"))
            });
        }
        let tensor = npy::read(path)?;
        let tensor = match (described, tensor.datatype()) {
            (Some(DataType::Bf16), DataType::Fp32) => narrowed(&tensor)?,
            (Some(expected), found) if expected != found => {
                return Err(Failure::usage(format!(
                    "--input {name}: '{}' holds {found}, and the model takes {expected}",
                    path.display()
                )));
            }
            _ => tensor,
        };
        match self.shapes.iter().find(|shape| shape.name == name) {
            Some(shape) => tensor.reshape(Shape::new(shape.dims.clone())).map_err(Failure::usage),
            None => Ok(tensor),
        }
    }

    fn datatype(&self, name: &str) -> Result<DataType, Failure> {
        if let Some(datatype) =
            self.shapes.iter().find(|shape| shape.name == name).and_then(|shape| shape.datatype)
        {
            return Ok(datatype);
        }
        let described = self.described.iter().find(|input| input.name == name).ok_or_else(|| {
            Failure::usage(format!(
                "the server doesn't tell the type of input '{name}': give a .npy file, or --shape {name}=FP32:1,3"
            ))
        })?;
        // Triton's own configuration writes TYPE_FP32.
        let datatype = described.datatype.trim_start_matches("TYPE_");
        DataType::from_name(datatype).ok_or_else(|| {
            Failure::bad_reply(format!("input '{name}' is described with datatype '{}'", described.datatype))
        })
    }

    /// As --shape has it; else as described, with a batch of one.
    fn shape(&self, name: &str) -> Result<Shape, Failure> {
        let described = self.described.iter().find(|input| input.name == name);
        let dims = described.and_then(|input| Dims::new(&input.shape));
        if let Some(given) = self.shapes.iter().find(|shape| shape.name == name) {
            let fits = dims.is_none_or(|dims| dims.admit(&given.dims));
            let shape = Shape::new(given.dims.clone());
            return if fits {
                Ok(shape)
            } else {
                Err(Failure::usage(format!(
                    "--shape {name}={shape}: the model takes {}",
                    self.describe(name)
                )))
            };
        }
        let dims = dims.ok_or_else(|| {
            Failure::usage(format!("the shape of input '{name}' is not known: give --shape {name}=FP32:1,3"))
        })?;
        let batch_of_one =
            dims.dims().iter().enumerate().map(|(at, dim)| if at == 0 { dim.or(Some(1)) } else { *dim });
        batch_of_one.collect::<Option<_>>().map(Shape::new).ok_or_else(|| {
            Failure::usage(format!(
                "input '{name}' takes {}: give its dimensions, as in --shape {name}=1,3,224,224",
                self.describe(name)
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::shown;

    fn described(shape: &[i64], datatype: &str) -> Vec<TensorMetadata> {
        vec![TensorMetadata { name: "x".into(), datatype: datatype.into(), shape: shape.into() }]
    }

    #[test]
    fn shapes_come_from_the_server_or_the_option() {
        let described = described(&[-1, 3, -1], "FP32");
        let shapes = ["x=2,3,5".parse().unwrap()];
        let inputs = Inputs { described: &described, given: &[], shapes: &shapes };
        assert_eq!(inputs.fill("x", &Filling::Random).unwrap().tensor.shape().dims(), [2, 3, 5]);
        let without = Inputs { shapes: &[], ..inputs };
        assert!(without.fill("x", &Filling::Ones).unwrap_err().message.contains("FP32 [-1,3,-1]"));
        let wrong = ["x=2,4,5".parse().unwrap()];
        let wrong = Inputs { shapes: &wrong, ..inputs };
        assert!(wrong.fill("x", &Filling::Ones).unwrap_err().message.contains("[2,4,5]"));
        let unknown = ["z=1".parse().unwrap()];
        assert!(Inputs { shapes: &unknown, ..inputs }.check().unwrap_err().message.contains("'z'; it has x"));
    }

    #[test]
    fn a_server_that_tells_nothing_needs_the_type() {
        let shapes = ["x=FP64:2".parse().unwrap(), "y=2".parse().unwrap()];
        let inputs = Inputs { described: &[], given: &[], shapes: &shapes };
        assert_eq!(inputs.names(), ["x", "y"]);
        assert_eq!(shown(&inputs.fill("x", &Filling::Ones).unwrap().tensor, 3), ["1", "1"]);
        assert!(inputs.fill("y", &Filling::Ones).unwrap_err().message.contains("--shape y=FP32"));
    }

    #[test]
    fn options_are_checked() {
        assert!("x".parse::<GivenInput>().is_err() && "=ones".parse::<GivenInput>().is_err());
        assert!("x=1,a".parse::<GivenShape>().unwrap_err().contains("'a'"));
        assert!("x=FP9:1".parse::<GivenShape>().unwrap_err().contains("'FP9'"));
        assert_eq!("x=".parse::<GivenShape>().unwrap().dims, Vec::<usize>::new());
    }
}
