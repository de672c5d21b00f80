//! From the machine's graph of nodes to a [`Value`]: no cycles, bounded nesting, shared parts
//! stay shared.

use std::sync::Arc;

use super::node::{Node, NodeId};
use super::value::{Object, Value};
use super::{MAX_DEPTH, Refusal};
use crate::printable::printable;

/// A finished value and how deep it nests.
type Finished = Option<(Value, u16)>;

/// Turns the part of `nodes` that `root` reaches into a value, children first, without recursion.
pub(super) fn finish(nodes: Vec<Node>, root: NodeId) -> Result<Value, Refusal> {
    let mut finished: Vec<Finished> = Vec::new();
    finished.resize_with(nodes.len(), || None);
    let mut open = vec![false; nodes.len()];
    // Each entry is a node and the number of its next child.
    let mut path = vec![(root, 0usize)];
    while let Some((id, next)) = path.last_mut() {
        let index = id.0 as usize;
        open[index] = true;
        if let Some(child) = nodes[index].child(*next) {
            *next += 1;
            if open[child.0 as usize] {
                return Err("a value contains itself".into());
            }
            if finished[child.0 as usize].is_none() {
                path.push((child, 0));
                if path.len() > usize::from(MAX_DEPTH) {
                    return Err(too_deep());
                }
            }
            continue;
        }
        let value = value(&nodes[index], &finished)?;
        // The path alone does not bound the depth: a child may have been finished earlier.
        let depth = 1 + depth_of_children(&nodes[index], &finished);
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        finished[index] = Some((value, depth));
        open[index] = false;
        path.pop();
    }
    finished[root.0 as usize]
        .take()
        .map(|(value, _)| value)
        .ok_or_else(|| "the pickle holds no value".into())
}

fn too_deep() -> Refusal {
    Refusal::Broken(format!("values nest deeper than {MAX_DEPTH} levels"))
}

fn depth_of_children(node: &Node, finished: &[Finished]) -> u16 {
    (0..)
        .map_while(|k| node.child(k))
        .filter_map(|child| finished[child.0 as usize].as_ref())
        .map(|&(_, depth)| depth)
        .max()
        .unwrap_or(0)
}

/// The value of a node whose children are finished.
fn value(node: &Node, finished: &[Finished]) -> Result<Value, Refusal> {
    let at = |id: &NodeId| match &finished[id.0 as usize] {
        Some((value, _)) => Ok(value.clone()),
        None => Err(Refusal::from("a value is used before it exists")),
    };
    let all = |ids: &[NodeId]| ids.iter().map(at).collect::<Result<Arc<[Value]>, _>>();
    // The elements are shared with the collection they come from, not copied.
    let elements = |id: &NodeId| match at(id)? {
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => Ok(items),
        other => Err(Refusal::Broken(format!("a collection made from {}", other.kind()))),
    };
    Ok(match node {
        Node::None => Value::None,
        Node::Bool(value) => Value::Bool(*value),
        Node::Int(value) => Value::Int(*value),
        Node::Float(value) => Value::Float(*value),
        Node::Str(text) => Value::Str(text.clone()),
        Node::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Node::List(items) => Value::List(all(items)?),
        Node::Tuple(items) => Value::Tuple(all(items)?),
        Node::Set(items) => Value::Set(all(items)?),
        Node::ListOf(of) => Value::List(elements(of)?),
        Node::TupleOf(of) => Value::Tuple(elements(of)?),
        Node::SetOf(of) => Value::Set(elements(of)?),
        Node::Dict(pairs) => Value::Dict(
            pairs
                .iter()
                .map(|(key, value)| Ok((at(key)?, at(value)?)))
                .collect::<Result<Arc<[_]>, Refusal>>()?,
        ),
        Node::Global(global) => Value::Name(global.name()),
        Node::Storage(storage) => {
            return Err(Refusal::Broken(format!(
                "storage {} stands where a tensor belongs",
                printable(&storage.key)
            )));
        }
        Node::Tensor(tensor) => Value::Tensor(tensor.clone()),
        Node::Object(object) => Value::Object(Arc::new(Object {
            class: object.class,
            args: at(&object.args)?,
            state: object.state.as_ref().map_or(Ok(Value::None), at)?,
        })),
    })
}
