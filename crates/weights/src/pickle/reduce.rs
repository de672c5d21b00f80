//! What REDUCE, NEWOBJ and BUILD mean for each name on the list.

use super::Refusal;
use super::globals::Global;
use super::machine::Machine;
use super::node::{Node, NodeId, ObjectNode};

impl Machine<'_> {
    /// The value that calling `function` with `args` stands for.
    pub(super) fn reduce(&mut self, function: NodeId, args: NodeId) -> Result<Node, Refusal> {
        let global = self.global_at(function)?;
        let items: &[NodeId] = match self.node(args) {
            Node::Tuple(items) => items,
            other => {
                return Err(Refusal::Broken(format!(
                    "calls {} with {} instead of a tuple",
                    global.name(),
                    other.kind()
                )));
            }
        };
        match (global, items) {
            (Global::RebuildTensor, items) => self.rebuild_tensor(items),
            (Global::RebuildParameter, &[tensor, _requires_grad, _hooks]) => {
                match self.node(tensor) {
                    Node::Tensor(tensor) => Ok(Node::Tensor(tensor.clone())),
                    other => {
                        Err(Refusal::Broken(format!("a parameter made from {}", other.kind())))
                    }
                }
            }
            (Global::Dict(_), []) => Ok(Node::Dict(Vec::new())),
            (Global::List, []) => Ok(Node::List(Vec::new())),
            (Global::Set(_), []) => Ok(Node::Set(Vec::new())),
            (Global::Tuple(_), []) => Ok(Node::Tuple(Box::default())),
            (Global::List, &[of]) => self.items_at(of).map(Node::ListOf),
            (Global::Set(_), &[of]) => self.items_at(of).map(Node::SetOf),
            (Global::Tuple(_), &[of]) => self.items_at(of).map(Node::TupleOf),
            (Global::Inert(class), _) => {
                Ok(Node::Object(Box::new(ObjectNode { class, args, state: None })))
            }
            (global, items) => Err(Refusal::Broken(format!(
                "calls {} with {} arguments",
                global.name(),
                items.len()
            ))),
        }
    }

    /// The value that `class.__new__(class, *args)` stands for.
    pub(super) fn instantiate(&mut self, class: NodeId, args: NodeId) -> Result<Node, Refusal> {
        match self.global_at(class)? {
            Global::Inert(_) | Global::Dict(_) | Global::Set(_) | Global::List => {
                self.reduce(class, args)
            }
            global => Err(Refusal::Broken(format!("makes an instance of {}", global.name()))),
        }
    }

    /// Gives `target` its attributes.
    pub(super) fn build(&mut self, target: NodeId, state: NodeId) -> Result<(), Refusal> {
        match self.node(state) {
            Node::Dict(_) | Node::Tuple(_) | Node::None => {}
            other => {
                return Err(Refusal::Broken(format!("{} as the state of an object", other.kind())));
            }
        }
        match self.node_mut(target) {
            Node::Object(object) if object.state.is_none() => {
                object.state = Some(state);
                Ok(())
            }
            Node::Object(_) => Err("gives an object its state twice".into()),
            // State dicts carry their versions as an attribute (`_metadata`); nothing reads it.
            Node::Dict(_) => Ok(()),
            other => Err(Refusal::Broken(format!("sets attributes of {}", other.kind()))),
        }
    }

    fn global_at(&self, id: NodeId) -> Result<Global, Refusal> {
        match self.node(id) {
            Node::Global(global) => Ok(*global),
            other => Err(Refusal::Broken(format!("calls {}", other.kind()))),
        }
    }

    fn items_at(&self, id: NodeId) -> Result<NodeId, Refusal> {
        match self.node(id) {
            Node::List(_)
            | Node::Tuple(_)
            | Node::Set(_)
            | Node::ListOf(_)
            | Node::TupleOf(_)
            | Node::SetOf(_) => Ok(id),
            other => Err(Refusal::Broken(format!("a collection made from {}", other.kind()))),
        }
    }
}
