//! Storages and the tensors laid over them.

use std::sync::Arc;

use super::Refusal;
use super::globals::Global;
use super::machine::Machine;
use super::node::{Node, NodeId, StorageNode};
use crate::printable::printable;
use crate::stored_tensor::{MAX_RANK, StoredTensor};

impl Machine<'_> {
    /// The storage behind `('storage', type, key, location, numel)`.
    pub(super) fn persistent(&mut self, id: NodeId) -> Result<Node, Refusal> {
        let malformed = || Refusal::from("a persistent id that is not a torch storage");
        let Node::Tuple(parts) = self.node(id) else {
            return Err(malformed());
        };
        let &[tag, kind, key, location, numel] = parts.as_ref() else {
            return Err(malformed());
        };
        let (Node::Str(tag), Node::Global(kind), Node::Str(key), Node::Str(_), Node::Int(numel)) = (
            self.node(tag),
            self.node(kind),
            self.node(key),
            self.node(location),
            self.node(numel),
        ) else {
            return Err(malformed());
        };
        if &**tag != "storage" {
            return Err(malformed());
        }
        let dtype = match *kind {
            Global::Storage(_, dtype) => dtype,
            Global::UnusedStorage(name) => {
                return Err(Refusal::DType {
                    name: format!("storage {key}"),
                    dtype: name.to_owned(),
                });
            }
            _ => return Err(malformed()),
        };
        let bytes = self.storages.storage(key)?;
        let shown = printable(key);
        let size_bytes =
            usize::try_from(*numel).ok().and_then(|numel| numel.checked_mul(dtype.size_bytes()));
        if size_bytes != Some(bytes.len()) {
            return Err(Refusal::Broken(format!(
                "storage {shown} is declared as {numel} elements of {dtype}, the archive holds {} bytes",
                bytes.len()
            )));
        }
        Ok(Node::Storage(Box::new(StorageNode { key: key.clone(), dtype, bytes })))
    }

    /// The tensor behind `(storage, offset, size, stride, ...)`; what follows concerns training.
    pub(super) fn rebuild_tensor(&self, args: &[NodeId]) -> Result<Node, Refusal> {
        let malformed = || Refusal::from("a tensor that is not made from a torch storage");
        // `_rebuild_tensor` has four arguments, `_v2` six, or seven with its metadata.
        let &[storage, offset, size, stride, ..] = args else {
            return Err(malformed());
        };
        if args.len() > 7 {
            return Err(malformed());
        }
        let (Node::Storage(storage), Node::Int(offset)) = (self.node(storage), self.node(offset))
        else {
            return Err(malformed());
        };
        let key = printable(&storage.key);
        let of_storage =
            |what: String| Refusal::Broken(format!("a tensor of storage {key}: {what}"));
        let shape = self.extents(size, "extent").map_err(of_storage)?;
        let strides = self.extents(stride, "stride").map_err(of_storage)?;
        let offset = usize::try_from(*offset)
            .map_err(|_| of_storage(format!("offset {offset} is negative")))?;
        StoredTensor::strided(storage.dtype, shape, strides, offset, &storage.bytes)
            .map(|tensor| Node::Tensor(Arc::new(tensor)))
            .map_err(of_storage)
    }

    /// A short tuple of numbers that are not negative.
    fn extents(&self, id: NodeId, what: &str) -> Result<Vec<usize>, String> {
        let id = match self.node(id) {
            Node::TupleOf(of) => *of,
            _ => id,
        };
        let items: &[NodeId] = match self.node(id) {
            Node::Tuple(items) => items,
            Node::List(items) => items,
            other => return Err(format!("{} instead of a tuple of {what}s", other.kind())),
        };
        if items.len() > MAX_RANK {
            return Err(format!("{} dimensions, at most {MAX_RANK} are read", items.len()));
        }
        items
            .iter()
            .map(|&item| match self.node(item) {
                Node::Int(value) => {
                    usize::try_from(*value).map_err(|_| format!("{what} {value} is negative"))
                }
                other => Err(format!("{} instead of a {what}", other.kind())),
            })
            .collect()
    }
}
