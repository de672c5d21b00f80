//! What the machine builds while it runs: small nodes that refer to each other by number.

use std::sync::Arc;

use virnucpro_backend::DType;

use super::globals::Global;
use crate::bytes::Bytes;
use crate::stored_tensor::StoredTensor;

/// Number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u32);

/// A value under construction.
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Vec<NodeId>),
    Tuple(Box<[NodeId]>),
    Dict(Vec<(NodeId, NodeId)>),
    Set(Vec<NodeId>),
    /// A set, tuple or list made from the elements of another node. The elements are looked up
    /// when the graph is finished: copying them here would let a small pickle grow without bound.
    SetOf(NodeId),
    TupleOf(NodeId),
    ListOf(NodeId),
    Global(Global),
    Storage(Box<StorageNode>),
    Tensor(Arc<StoredTensor>),
    Object(Box<ObjectNode>),
}

/// A persistent id: typed bytes that tensors are laid over.
pub(super) struct StorageNode {
    pub(super) key: Arc<str>,
    pub(super) dtype: DType,
    pub(super) bytes: Bytes,
}

/// An instance of an inert class.
pub(super) struct ObjectNode {
    pub(super) class: &'static str,
    pub(super) args: NodeId,
    pub(super) state: Option<NodeId>,
}

impl Node {
    /// What the node is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::ListOf(_) => "a list",
            Self::Tuple(_) | Self::TupleOf(_) => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Set(_) | Self::SetOf(_) => "a set",
            Self::Global(_) => "a class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Object(_) => "an object",
        }
    }

    /// The node it refers to as `k`-th, if there are so many.
    pub(super) fn child(&self, k: usize) -> Option<NodeId> {
        match self {
            Self::List(items) | Self::Set(items) => items.get(k).copied(),
            Self::Tuple(items) => items.get(k).copied(),
            Self::Dict(pairs) => {
                pairs.get(k / 2).map(|&(key, value)| if k.is_multiple_of(2) { key } else { value })
            }
            Self::SetOf(of) | Self::TupleOf(of) | Self::ListOf(of) => (k == 0).then_some(*of),
            Self::Object(object) => match k {
                0 => Some(object.args),
                1 => object.state,
                _ => None,
            },
            _ => None,
        }
    }
}
