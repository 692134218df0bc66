//! libtorch's numbers of data types.

use crate::tensor::DataType;

/// The number of a type, as its `ScalarType` has it; `None` for byte strings, of which it has no tensors.
pub fn kind(datatype: DataType) -> Option<i32> {
    match datatype {
        DataType::Uint8 => Some(0),
        DataType::Int8 => Some(1),
        DataType::Int16 => Some(2),
        DataType::Int32 => Some(3),
        DataType::Int64 => Some(4),
        DataType::Fp16 => Some(5),
        DataType::Fp32 => Some(6),
        DataType::Fp64 => Some(7),
        DataType::Bool => Some(11),
        DataType::Bf16 => Some(15),
        DataType::Uint16 => Some(27),
        DataType::Uint32 => Some(28),
        DataType::Uint64 => Some(29),
        DataType::Bytes => None,
    }
}

/// The type of a number; `None` for one that no protocol knows, such as a complex one.
pub fn datatype(number: i32) -> Option<DataType> {
    DataType::ALL.into_iter().find(|datatype| kind(*datatype) == Some(number))
}
