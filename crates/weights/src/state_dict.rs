//! Named tensors out of a pickled value.
//!
//! Owns where the tensors of a model are looked for in a checkpoint and how they are named;
//! knows no model. The entry type is [`state_dict`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Result, WeightsError};
use crate::pickle::{Object, Value};
use crate::printable::{one_line, printable};
use crate::stored_tensor::StoredTensor;

/// Keys under which training programs put the state dict, in the order they are tried.
const NESTED_UNDER: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// How often [`NESTED_UNDER`] is followed.
const MAX_NESTING: usize = 3;

/// Longest dotted name, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Most values looked at. A value can share its parts so that the paths through it are
/// exponentially many; real models stay in the thousands.
const MAX_VISITS: usize = 1 << 20;

/// Most bytes in all names together.
const MAX_NAMES_BYTES: usize = 64 << 20;

/// The named tensors of a state dict, a checkpoint that holds one under a usual key, or a whole
/// pickled module.
///
/// Modules are walked as `torch.nn.Module.state_dict` does: `_parameters`, then `_buffers` that
/// are not marked as non-persistent, then `_modules`, names joined with dots.
///
/// # Errors
/// [`WeightsError::NotAStateDict`], naming `file`.
///
/// # Source
/// pytorch/pytorch, torch/nn/modules/module.py (`Module._save_to_state_dict`)
pub fn state_dict(file: &str, root: &Value) -> Result<BTreeMap<String, Arc<StoredTensor>>> {
    let mut walk = Walk { tensors: BTreeMap::new(), visits: 0, names_bytes: 0 };
    walk.root(root, 0)
        .map_err(|what| WeightsError::NotAStateDict { file: one_line(file), what })?;
    Ok(walk.tensors)
}

/// Whether `root` looks as if it were meant to hold named tensors. Other data, such as a dict of
/// lists, is a valid pickle without them.
pub(crate) fn is_candidate(root: &Value) -> bool {
    match root {
        Value::Object(object) => pairs(object.state(), "_modules").is_some(),
        Value::Dict(values) => {
            values.iter().any(|(_, value)| matches!(value, Value::Tensor(_)))
                || NESTED_UNDER
                    .iter()
                    .filter_map(|key| root.get(key))
                    .any(|inner| matches!(inner, Value::Dict(_) | Value::Object(_)))
        }
        _ => false,
    }
}

struct Walk {
    tensors: BTreeMap<String, Arc<StoredTensor>>,
    visits: usize,
    names_bytes: usize,
}

impl Walk {
    fn root(&mut self, value: &Value, nesting: usize) -> Result<(), String> {
        match value {
            Value::Object(object) => self.module("", object),
            Value::Dict(pairs) => {
                let nested = NESTED_UNDER
                    .iter()
                    .filter_map(|key| value.get(key))
                    .find(|inner| matches!(inner, Value::Dict(_) | Value::Object(_)));
                match nested {
                    Some(inner) if nesting < MAX_NESTING => self.root(inner, nesting + 1),
                    _ => self.mapping(pairs),
                }
            }
            other => Err(format!("the file holds {}", other.kind())),
        }
    }

    /// A dict whose tensors are named by their keys; settings beside them are left out.
    fn mapping(&mut self, pairs: &[(Value, Value)]) -> Result<(), String> {
        let mut found = false;
        for (key, value) in pairs {
            self.visit()?;
            if let Value::Tensor(tensor) = value {
                let Some(name) = key.as_str() else {
                    return Err(format!("a tensor is filed under {}", key.kind()));
                };
                self.insert("", name, tensor)?;
                found = true;
            }
        }
        if found { Ok(()) } else { Err("the dict holds no tensors".to_owned()) }
    }

    fn module(&mut self, prefix: &str, object: &Object) -> Result<(), String> {
        let state = object.state();
        let (Some(parameters), Some(buffers), Some(modules)) =
            (pairs(state, "_parameters"), pairs(state, "_buffers"), pairs(state, "_modules"))
        else {
            return Err(format!("{} is not a module", object.class()));
        };
        let transient = state.get("_non_persistent_buffers_set").and_then(Value::as_items);
        let is_transient = |name: &str| {
            transient.is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)))
        };
        for (key, value) in parameters.iter().chain(buffers) {
            self.visit()?;
            match (key.as_str(), value) {
                (Some(name), Value::Tensor(tensor)) if !is_transient(name) => {
                    self.insert(prefix, name, tensor)?;
                }
                (Some(_), Value::Tensor(_) | Value::None) => {}
                _ => return Err(unusable(object, key, value)),
            }
        }
        for (key, value) in modules {
            self.visit()?;
            match (key.as_str(), value) {
                (Some(name), Value::Object(inner)) => {
                    let prefix = format!("{}.", joined(prefix, name)?);
                    self.module(&prefix, inner)?;
                }
                (Some(_), Value::None) => {}
                _ => return Err(unusable(object, key, value)),
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        prefix: &str,
        name: &str,
        tensor: &Arc<StoredTensor>,
    ) -> Result<(), String> {
        let name = joined(prefix, name)?;
        self.names_bytes += name.len();
        if self.names_bytes > MAX_NAMES_BYTES {
            return Err(format!("the tensor names take more than {MAX_NAMES_BYTES} bytes"));
        }
        let shown = printable(&name);
        match self.tensors.insert(name, tensor.clone()) {
            None => Ok(()),
            Some(_) => Err(format!("tensor {shown} occurs twice")),
        }
    }

    fn visit(&mut self) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return Err(format!("more than {MAX_VISITS} values in one module"));
        }
        Ok(())
    }
}

fn pairs<'a>(state: &'a Value, key: &str) -> Option<&'a [(Value, Value)]> {
    state.get(key)?.as_dict()
}

fn joined(prefix: &str, name: &str) -> Result<String, String> {
    if prefix.len() + name.len() > MAX_NAME_BYTES {
        return Err(format!("a tensor name is longer than {MAX_NAME_BYTES} bytes"));
    }
    Ok(format!("{prefix}{name}"))
}

fn unusable(object: &Object, key: &Value, value: &Value) -> String {
    let key = key.as_str().map_or_else(|| key.kind().to_owned(), printable);
    format!("{} in the place of {key} of {}", value.kind(), object.class())
}
