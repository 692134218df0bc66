//! Arrays in NumPy's .npy format (numpy.lib.format, versions 1.0 to 3.0), as far as tensors go.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use frameserve::tensor::{DataType, Shape, Tensor};

use crate::failure::Failure;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The data begins at a multiple of it.
const ALIGNMENT: usize = 64;

/// Types that NumPy and the protocol share.
const TYPES: [(&str, DataType); 12] = [
    ("|b1", DataType::Bool),
    ("|u1", DataType::Uint8),
    ("<u2", DataType::Uint16),
    ("<u4", DataType::Uint32),
    ("<u8", DataType::Uint64),
    ("|i1", DataType::Int8),
    ("<i2", DataType::Int16),
    ("<i4", DataType::Int32),
    ("<i8", DataType::Int64),
    ("<f2", DataType::Fp16),
    ("<f4", DataType::Fp32),
    ("<f8", DataType::Fp64),
];

/// Reads a file.
pub fn read(path: &Path) -> Result<Tensor, Failure> {
    let fail = |reason: String| Failure::usage(format!("cannot read '{}': {reason}", path.display()));
    let file = fs::read(path).map_err(|error| fail(error.to_string()))?;
    parse(file.into()).map_err(fail)
}

/// A file's bytes. BF16, which NumPy does not know, is written as FP32; `None` for byte strings, which it
/// can't hold as they are.
pub fn file(tensor: &Tensor) -> Option<Vec<u8>> {
    let bytes = tensor.bytes()?;
    let widened: Vec<u8>;
    let (datatype, data): (DataType, &[u8]) = match tensor.datatype() {
        DataType::Bf16 => {
            widened = bytes.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
            (DataType::Fp32, &widened)
        }
        other => (other, bytes),
    };
    let (descr, _) = TYPES.iter().find(|(_, known)| *known == datatype)?;
    let dims: String = tensor.shape().dims().iter().map(|dim| format!("{dim}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    let length = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(ALIGNMENT) - MAGIC.len() - 4;
    let mut file = [MAGIC, &[1, 0]].concat();
    file.extend((length as u16).to_le_bytes());
    file.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    file.extend(data);
    Some(file)
}

fn parse(file: Bytes) -> Result<Tensor, String> {
    let cut = || "its header is cut short".to_string();
    let rest = file.strip_prefix(MAGIC).ok_or("it is no .npy file")?;
    let (length, start) = match *rest {
        [1, _, low, high, ..] => (usize::from(u16::from_le_bytes([low, high])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        [version, minor, ..] => {
            return Err(format!("it is of version {version}.{minor} of .npy, not 1 to 3"));
        }
        _ => return Err(cut()),
    };
    let header = file.get(start..start + length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text")?;
    let descr = value(header, "descr")?;
    let name = descr.trim_matches(['\'', '"']);
    let datatype = TYPES.iter().find(|(known, _)| *known == name).map(|(_, datatype)| *datatype);
    let known: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let datatype =
        datatype.ok_or_else(|| format!("its elements are {descr}, which is none of {}", known.join(" ")))?;
    if value(header, "fortran_order")? != "False" {
        return Err("it is in Fortran order: save numpy.ascontiguousarray of it".into());
    }
    let shape = shape(header)?;
    let data = file.slice(start + length..);
    let found = data.len();
    Tensor::raw(datatype, shape.clone(), data)
        .map_err(|_| format!("it holds {found} bytes, which are no {datatype} array of shape {shape}"))
}

/// The value of a key in the Python dictionary that a header is.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let after = quoted.iter().find_map(|key| header.split_once(key.as_str())).map(|(_, after)| after);
    let after = after.and_then(|after| after.trim_start().strip_prefix(':'));
    let after = after.ok_or_else(|| format!("its header has no {key}"))?.trim_start();
    let end = after.find([',', '}']).unwrap_or(after.len());
    Ok(after[..end].trim_end())
}

fn shape(header: &str) -> Result<Shape, String> {
    let none = || "its header has no shape".to_string();
    let (_, after) =
        header.split_once("'shape'").or_else(|| header.split_once("\"shape\"")).ok_or_else(none)?;
    let inner = after.split_once('(').and_then(|(_, rest)| rest.split_once(')')).ok_or_else(none)?.0;
    let dims = inner.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let dims = dims.map(|dim| dim.parse().map_err(|_| format!("its shape has a '{dim}'")));
    Ok(Shape::new(dims.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for dims in [vec![], vec![3], vec![2, 3], vec![0, 4]] {
            let count: usize = dims.iter().product();
            let data = Bytes::from((0..count * 4).map(|byte| byte as u8).collect::<Vec<_>>());
            let tensor = Tensor::raw(DataType::Fp32, Shape::new(dims), data).unwrap();
            let file = file(&tensor).unwrap();
            assert_eq!((file.len() - count * 4) % ALIGNMENT, 0);
            assert_eq!(parse(file.into()).unwrap(), tensor);
        }
    }

    #[test]
    fn bf16_is_widened_and_byte_strings_are_not_written() {
        let one =
            Tensor::raw(DataType::Bf16, Shape::new(vec![1]), Bytes::from_static(&[0x80, 0x3f])).unwrap();
        let read = parse(file(&one).unwrap().into()).unwrap();
        assert_eq!(read.bytes().unwrap(), &1.0f32.to_le_bytes()[..]);
        let text = Tensor::elements(Shape::new(vec![1]), vec![Bytes::from_static(b"a\0")]).unwrap();
        assert_eq!(file(&text), None);
    }

    #[test]
    fn what_no_tensor_can_be_is_named() {
        let with = |header: &str| {
            let mut file = [MAGIC, &[1, 0, header.len() as u8, 0]].concat();
            file.extend(header.bytes());
            parse(file.into()).unwrap_err()
        };
        for (header, said) in [
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "'>f4'"),
            ("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "0 bytes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "'-2'"),
            ("{'descr': '<f4', 'fortran_order': False}", "no shape"),
            ("{}", "no descr"),
        ] {
            assert!(with(header).contains(said), "{header}: {}", with(header));
        }
        let whole =
            file(&Tensor::raw(DataType::Uint8, Shape::new(vec![1]), Bytes::from_static(b"x")).unwrap());
        let whole = Bytes::from(whole.unwrap());
        assert!((0..whole.len()).all(|end| parse(whole.slice(..end)).is_err()));
    }
}
