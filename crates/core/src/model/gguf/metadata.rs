//! Metadata of a GGUF file with typed access.

use std::collections::BTreeMap;

use super::GgufError;

/// Scalar types of GGUF metadata, little-endian in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl ScalarType {
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Type of a metadata value as numbered in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Scalar(ScalarType),
    String,
    Array,
}

impl ValueType {
    pub(super) fn from_code(code: u32) -> Option<Self> {
        use ScalarType::*;
        Some(match code {
            0 => Self::Scalar(U8),
            1 => Self::Scalar(I8),
            2 => Self::Scalar(U16),
            3 => Self::Scalar(I16),
            4 => Self::Scalar(U32),
            5 => Self::Scalar(I32),
            6 => Self::Scalar(F32),
            7 => Self::Scalar(Bool),
            8 => Self::String,
            9 => Self::Array,
            10 => Self::Scalar(U64),
            11 => Self::Scalar(I64),
            12 => Self::Scalar(F64),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Integer(i128),
    Real(f64),
    Bool(bool),
}

/// Reads one scalar; `bytes` holds exactly `ty.size()` of them.
fn number(ty: ScalarType, bytes: &[u8]) -> Option<Number> {
    fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    Some(match ty {
        ScalarType::U8 => Number::Integer(u8::from_le_bytes(array(bytes)?).into()),
        ScalarType::I8 => Number::Integer(i8::from_le_bytes(array(bytes)?).into()),
        ScalarType::U16 => Number::Integer(u16::from_le_bytes(array(bytes)?).into()),
        ScalarType::I16 => Number::Integer(i16::from_le_bytes(array(bytes)?).into()),
        ScalarType::U32 => Number::Integer(u32::from_le_bytes(array(bytes)?).into()),
        ScalarType::I32 => Number::Integer(i32::from_le_bytes(array(bytes)?).into()),
        ScalarType::U64 => Number::Integer(u64::from_le_bytes(array(bytes)?).into()),
        ScalarType::I64 => Number::Integer(i64::from_le_bytes(array(bytes)?).into()),
        ScalarType::F32 => Number::Real(f32::from_le_bytes(array(bytes)?).into()),
        ScalarType::F64 => Number::Real(f64::from_le_bytes(array(bytes)?)),
        ScalarType::Bool => Number::Bool(bytes.first()? != &0),
    })
}

/// A metadata value. Arrays of scalars stay in the bytes of the file: a hostile header cannot make them grow.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar(ScalarType, [u8; 8]),
    String(String),
    Scalars(ScalarType, Vec<u8>),
    Strings(Vec<String>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(ScalarType::Bool, _) => "a boolean",
            Self::Scalar(..) => "a number",
            Self::String(_) => "text",
            Self::Scalars(..) => "a list of numbers",
            Self::Strings(_) => "a list of texts",
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Scalar(ty, bytes) => number(*ty, bytes.get(..ty.size())?),
            _ => None,
        }
    }

    fn numbers(&self) -> Option<Vec<Number>> {
        match self {
            Self::Scalars(ty, bytes) => bytes.chunks_exact(ty.size()).map(|b| number(*ty, b)).collect(),
            _ => None,
        }
    }
}

/// The metadata of a GGUF file: keys such as `llama.block_count` to values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: String, value: Value) {
        self.0.insert(key, value);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of `key`, or `None` where the file has no such key.
    ///
    /// # Errors
    /// The value has another type or does not fit into `T`; the message names the key.
    pub fn find<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        match T::convert(value) {
            Some(found) => Ok(Some(found)),
            None => Err(GgufError::metadata(key, format!("is {}, expected {}", value.kind(), T::EXPECTED))),
        }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// The key is missing, or its value has another type or does not fit into `T`; the message names the key.
    pub fn get<'a, T: FromMetadata<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.find(key)?.ok_or_else(|| GgufError::metadata(key, "is missing; the file cannot be used without it"))
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Rust types that [`Metadata::get`] and [`Metadata::find`] can give: `u32`, `usize`, `f32`, `bool`, `&str`,
/// `&[String]`, `Vec<i64>` and `Vec<f32>`. Integers of any width convert where the value fits.
pub trait FromMetadata<'a>: sealed::Sealed + Sized {
    #[doc(hidden)]
    const EXPECTED: &'static str;
    #[doc(hidden)]
    #[allow(private_interfaces)] // Sealed: nobody outside can call or implement it.
    fn convert(value: &'a Value) -> Option<Self>;
}

macro_rules! from_metadata {
    ($($ty:ty, $expected:literal, $value:ident => $body:expr;)*) => {$(
        impl sealed::Sealed for $ty {}
        impl<'a> FromMetadata<'a> for $ty {
            const EXPECTED: &'static str = $expected;
            #[allow(private_interfaces)]
            fn convert($value: &'a Value) -> Option<Self> {
                $body
            }
        }
    )*};
}

fn integer(number: Number) -> Option<i128> {
    match number {
        Number::Integer(i) => Some(i),
        Number::Real(_) | Number::Bool(_) => None,
    }
}

/// Finite f32 of a number; integers convert as well, since converters are not consistent about it.
fn real(number: Number) -> Option<f32> {
    let wide = match number {
        Number::Integer(i) => i as f64,
        Number::Real(r) => r,
        Number::Bool(_) => return None,
    };
    Some(wide as f32).filter(|narrow| narrow.is_finite())
}

from_metadata! {
    u32, "a whole number from 0 to 2^32 - 1", v => v.number().and_then(integer)?.try_into().ok();
    usize, "a whole number that fits into this machine's address size",
        v => v.number().and_then(integer)?.try_into().ok();
    f32, "a finite number", v => v.number().and_then(real);
    bool, "a boolean", v => match v.number()? { Number::Bool(b) => Some(b), _ => None };
    Vec<i64>, "a list of whole numbers",
        v => v.numbers()?.into_iter().map(|n| integer(n)?.try_into().ok()).collect();
    Vec<f32>, "a list of finite numbers", v => v.numbers()?.into_iter().map(real).collect();
}

impl sealed::Sealed for &str {}
impl<'a> FromMetadata<'a> for &'a str {
    const EXPECTED: &'static str = "text";
    #[allow(private_interfaces)]
    fn convert(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl sealed::Sealed for &[String] {}
impl<'a> FromMetadata<'a> for &'a [String] {
    const EXPECTED: &'static str = "a list of texts";
    #[allow(private_interfaces)]
    fn convert(value: &'a Value) -> Option<Self> {
        match value {
            Value::Strings(texts) => Some(texts),
            _ => None,
        }
    }
}
