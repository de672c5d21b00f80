//! Plain data out of a pickle.

use std::fmt;
use std::sync::Arc;

use crate::stored_tensor::StoredTensor;

/// A Python value as plain data; clones in constant time.
///
/// Parts that the pickle shares are shared here, so the number of *paths* through a value can be
/// exponential in its size: walk it with a bound. Nesting is bounded, cycles do not occur.
#[derive(Clone)]
#[non_exhaustive]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<[Value]>),
    /// A tuple or `torch.Size`.
    Tuple(Arc<[Value]>),
    /// A dict or `OrderedDict`, in insertion order.
    Dict(Arc<[(Value, Value)]>),
    /// A set or frozenset, in the order of the file.
    Set(Arc<[Value]>),
    /// A tensor or parameter.
    Tensor(Arc<StoredTensor>),
    /// An instance of a class on the list of harmless ones.
    Object(Arc<Object>),
    /// A class or constant that is only named, such as `torch.float32`.
    Name(&'static str),
}

/// An instance of a Python class, kept as data.
pub struct Object {
    pub(super) class: &'static str,
    pub(super) args: Value,
    pub(super) state: Value,
}

impl Object {
    /// Full name of the class, such as `argparse.Namespace`.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// What the class was constructed with, a tuple.
    pub fn args(&self) -> &Value {
        &self.args
    }

    /// Attributes, usually a dict.
    pub fn state(&self) -> &Value {
        &self.state
    }
}

impl Value {
    /// The value under text `key` of a dict; the last one if the key is repeated, as in Python.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let pairs = self.as_dict()?;
        let found = pairs.iter().rev().find(|(k, _)| k.as_str() == Some(key));
        found.map(|(_, value)| value)
    }

    /// The attribute `name` of an object.
    pub fn attr(&self, name: &str) -> Option<&Value> {
        match &self.as_object()?.state {
            // `(dict, slots)` is how objects with `__slots__` are pickled.
            Value::Tuple(parts) => parts.iter().find_map(|part| part.get(name)),
            state => state.get(name),
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer as a size, if it is one and not negative.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_i64().and_then(|value| usize::try_from(value).ok())
    }

    /// The number, if it is a float or an integer.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set.
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub fn as_dict(&self) -> Option<&[(Value, Value)]> {
        match self {
            Self::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The tensor, if it is one.
    pub fn as_tensor(&self) -> Option<&StoredTensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What the value is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Set(_) => "a set",
            Self::Tensor(_) => "a tensor",
            Self::Object(object) => object.class,
            Self::Name(name) => name,
        }
    }
}

/// One level only: a full print of a hostile value could be exponentially long.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Str(text) => write!(f, "{text:?}"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => {
                write!(f, "{} of {}", self.kind(), items.len())
            }
            Self::Dict(pairs) => write!(f, "a dict of {}", pairs.len()),
            Self::Tensor(tensor) => write!(f, "{tensor:?}"),
            Self::None | Self::Object(_) | Self::Name(_) => f.write_str(self.kind()),
        }
    }
}
