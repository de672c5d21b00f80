//! The stack machine that runs pickle instructions.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::cursor::Cursor;
use super::finish::finish;
use super::globals::{self, Global};
use super::memo::Memo;
use super::node::{Node, NodeId};
use super::{MAX_NODES, MAX_PICKLE_BYTES, Refusal, Storages, Unpickled};

/// Highest pickle protocol there is.
const MAX_PROTOCOL: u8 = 5;

pub(super) struct Machine<'a> {
    pub(super) nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: Memo,
    classes: BTreeSet<&'static str>,
    pub(super) storages: &'a dyn Storages,
}

/// Runs `pickle` to its end.
///
/// # Errors
/// The offset in `pickle` of the instruction that was refused, and why.
pub(crate) fn load(pickle: &[u8], storages: &dyn Storages) -> Result<Unpickled, (usize, Refusal)> {
    if pickle.len() > MAX_PICKLE_BYTES {
        let what =
            format!("the pickle has {} bytes, at most {MAX_PICKLE_BYTES} are read", pickle.len());
        return Err((0, Refusal::Broken(what)));
    }
    let mut machine = Machine {
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
        classes: BTreeSet::new(),
        storages,
    };
    let mut cursor = Cursor::new(pickle);
    loop {
        let at = cursor.position();
        if machine.step(&mut cursor).map_err(|refusal| (at, refusal))? {
            let root = machine.result().map_err(|refusal| (at, refusal))?;
            let classes = machine.classes.iter().map(|&class| class.to_owned()).collect();
            let root = finish(machine.nodes, root).map_err(|refusal| (at, refusal))?;
            return Ok(Unpickled { root, classes });
        }
    }
}

impl Machine<'_> {
    /// Runs one instruction; `true` at the end of the pickle.
    ///
    /// # Source
    /// python/cpython, Lib/pickletools.py documents every instruction.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, Refusal> {
        if cursor.remaining() == 0 {
            return Err("the pickle ends without its STOP instruction".into());
        }
        match cursor.u8()? {
            0x80 => {
                let protocol = cursor.u8()?;
                if protocol > MAX_PROTOCOL {
                    return Err(Refusal::Broken(format!("unknown pickle protocol {protocol}")));
                }
            }
            0x95 => {
                let length = cursor.u64()?;
                if length > cursor.remaining() as u64 {
                    return Err("a frame reaches beyond the end of the pickle".into());
                }
            }
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => {
                let start = self.pop_mark()?;
                self.stack.truncate(start);
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'J' => {
                let value = cursor.i32()?;
                self.push(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = cursor.u8()?;
                self.push(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = cursor.u16()?;
                self.push(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = cursor.u8()?;
                self.long(cursor.take(length.into())?)?;
            }
            0x8b => {
                // A negative length reads as a huge one and is refused with it.
                let length = cursor.u32()?;
                self.long(cursor.take(length.into())?)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(cursor.array()?);
                self.push(Node::Float(value))?;
            }
            b'X' => {
                let length = cursor.u32()?;
                self.text(cursor, length.into())?;
            }
            0x8c => {
                let length = cursor.u8()?;
                self.text(cursor, length.into())?;
            }
            0x8d => {
                let length = cursor.u64()?;
                self.text(cursor, length)?;
            }
            // Python 2 wrote texts with these two.
            b'T' => {
                let length = cursor.u32()?;
                self.text(cursor, length.into())?;
            }
            b'U' => {
                let length = cursor.u8()?;
                self.text(cursor, length.into())?;
            }
            b'B' => {
                let length = cursor.u32()?;
                self.bytes(cursor, length.into())?;
            }
            b'C' => {
                let length = cursor.u8()?;
                self.bytes(cursor, length.into())?;
            }
            0x8e | 0x96 => {
                let length = cursor.u64()?;
                self.bytes(cursor, length)?;
            }
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            0x8f => self.push(Node::Set(Vec::new()))?,
            b')' => self.push(Node::Tuple(Box::default()))?,
            b'l' => {
                let items = self.pop_items()?;
                self.push(Node::List(items))?;
            }
            b'd' => {
                let items = self.pop_items()?;
                let pairs = pairs(&items)?;
                self.push(Node::Dict(pairs))?;
            }
            0x91 => {
                let items = self.pop_items()?;
                self.push(Node::Set(items))?;
            }
            b't' => {
                let items = self.pop_items()?;
                self.push(Node::Tuple(items.into()))?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_items()?;
                self.append(&items)?;
            }
            0x90 => {
                let items = self.pop_items()?;
                self.add(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_items()?;
                self.set_items(&items)?;
            }
            b'h' => {
                let place = cursor.u8()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = cursor.u32()?;
                self.recall(place)?;
            }
            b'q' => {
                let place = cursor.u8()?;
                self.memo.put(place.into(), self.top()?);
            }
            b'r' => {
                let place = cursor.u32()?;
                self.memo.put(place, self.top()?);
            }
            0x94 => self.memo.push(self.top()?),
            b'c' => {
                let module = cursor.line()?;
                let name = cursor.line()?;
                self.global(module, name)?;
            }
            0x93 => {
                let name = self.pop_text()?;
                let module = self.pop_text()?;
                self.global(&module, &name)?;
            }
            b'i' => {
                // INST names a class and calls it at once; torch never writes it.
                let module = cursor.line()?;
                let name = cursor.line()?;
                return Err(forbidden(module, name));
            }
            b'R' => {
                let args = self.pop()?;
                let function = self.pop()?;
                let made = self.reduce(function, args)?;
                self.push(made)?;
            }
            0x81 => {
                let args = self.pop()?;
                let class = self.pop()?;
                let made = self.instantiate(class, args)?;
                self.push(made)?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                self.build(target, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.push(storage)?;
            }
            opcode => return Err(unsupported(opcode)),
        }
        Ok(false)
    }

    /// The one value that is left at the end.
    fn result(&mut self) -> Result<NodeId, Refusal> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err("the pickle stops with unfinished values".into());
        }
        Ok(root)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        if self.nodes.len() >= MAX_NODES {
            return Err(Refusal::Broken(format!("more than {MAX_NODES} values in one pickle")));
        }
        // `MAX_NODES` fits in 32 bits.
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        self.stack.push(id);
        Ok(())
    }

    /// Where the values above the last mark begin; a value below it cannot be reached.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, Refusal> {
        let above = &self.stack[self.floor()..];
        above
            .last()
            .copied()
            .ok_or_else(|| "an instruction needs a value, the stack is empty".into())
    }

    fn pop(&mut self) -> Result<NodeId, Refusal> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// POP takes a value, or a mark when that is on top.
    fn discard(&mut self) -> Result<(), Refusal> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn pop_mark(&mut self) -> Result<usize, Refusal> {
        self.marks.pop().ok_or_else(|| "an instruction needs a mark, there is none".into())
    }

    fn pop_items(&mut self) -> Result<Vec<NodeId>, Refusal> {
        let start = self.pop_mark()?;
        Ok(self.stack.split_off(start))
    }

    fn pop_text(&mut self) -> Result<Arc<str>, Refusal> {
        let id = self.pop()?;
        match self.node(id) {
            Node::Str(text) => Ok(text.clone()),
            other => Err(Refusal::Broken(format!("{} where a name belongs", other.kind()))),
        }
    }

    fn tuple(&mut self, length: usize) -> Result<(), Refusal> {
        if self.stack.len() - self.floor() < length {
            return Err("an instruction needs a value, the stack is empty".into());
        }
        let items = self.stack.split_off(self.stack.len() - length);
        self.push(Node::Tuple(items.into()))
    }

    fn text(&mut self, cursor: &mut Cursor<'_>, length: u64) -> Result<(), Refusal> {
        let text = cursor.text(length)?;
        self.push(Node::Str(text.into()))
    }

    fn bytes(&mut self, cursor: &mut Cursor<'_>, length: u64) -> Result<(), Refusal> {
        let bytes = cursor.take(length)?;
        self.push(Node::Bytes(bytes.into()))
    }

    /// An integer in two's complement, little-endian, as short as it can be.
    fn long(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() > 8 {
            return Err("an integer of more than 64 bits".into());
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn recall(&mut self, place: u32) -> Result<(), Refusal> {
        let id = self.memo.get(place)?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let global = globals::find(module, name).ok_or_else(|| forbidden(module, name))?;
        if let Global::Inert(class) = global {
            self.classes.insert(class);
        }
        self.push(Node::Global(global))
    }

    fn append(&mut self, items: &[NodeId]) -> Result<(), Refusal> {
        let target = self.top()?;
        match self.node_mut(target) {
            Node::List(list) => list.extend_from_slice(items),
            other => return Err(Refusal::Broken(format!("appends to {}", other.kind()))),
        }
        Ok(())
    }

    fn add(&mut self, items: &[NodeId]) -> Result<(), Refusal> {
        let target = self.top()?;
        match self.node_mut(target) {
            Node::Set(set) => set.extend_from_slice(items),
            other => {
                return Err(Refusal::Broken(format!("adds elements to {}", other.kind())));
            }
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[NodeId]) -> Result<(), Refusal> {
        let added = pairs(items)?;
        let target = self.top()?;
        match self.node_mut(target) {
            Node::Dict(dict) => dict.extend_from_slice(&added),
            other => return Err(Refusal::Broken(format!("sets items of {}", other.kind()))),
        }
        Ok(())
    }
}

fn pairs(items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, Refusal> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key without a value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn forbidden(module: &str, name: &str) -> Refusal {
    Refusal::Forbidden { module: module.to_owned(), name: name.to_owned() }
}

fn unsupported(opcode: u8) -> Refusal {
    let name = match opcode {
        0x82..=0x84 => "EXT (a name from the extension registry)",
        0x92 => "NEWOBJ_EX",
        0x97 | 0x98 => "a buffer outside the pickle",
        b'o' => "OBJ",
        b'P' => "PERSID",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'g' | b'p' => "a text instruction of protocol 0",
        _ => "an unknown instruction",
    };
    Refusal::Broken(format!("instruction 0x{opcode:02x}, {name}, is not supported"))
}
