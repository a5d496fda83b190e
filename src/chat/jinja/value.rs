//! The values of a template. They never change, but for namespaces; so the depth of each is known when it is made.

use super::ast;
use super::meter::{ITEM, Meter, Result, fault};
use core::cell::{Cell, RefCell};
use std::rc::Rc;

/// Lists and dicts within one another.
const MOST_NESTED: u32 = 100;

#[derive(Debug, Clone)]
pub(in crate::chat) enum Value {
    /// What a name or place without a value gives; with what was asked for, in words.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<List>),
    Dict(Rc<Dict>),
    Namespace(Rc<Namespace>),
    Loop(Rc<Loop>),
    Macro(Rc<Closure>),
    Function(Function),
}

#[derive(Debug)]
pub(in crate::chat) struct List {
    pub(super) items: Vec<Value>,
    pub(super) kind: ListKind,
    nesting: Nesting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    List,
    Tuple,
    /// A pair of `groupby`, which has names for its two: `grouper` and `list`.
    Group,
}

/// In the order in which keys were put in, as Python keeps them.
#[derive(Debug)]
pub(in crate::chat) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    nesting: Nesting,
}

/// How deep a value is, and whether one that can change lies in it.
#[derive(Debug, Clone, Copy, Default)]
struct Nesting {
    depth: u32,
    may_change: bool,
}

#[derive(Debug, Default)]
pub(in crate::chat) struct Namespace {
    entries: RefCell<Vec<(Rc<str>, Value)>>,
}

/// The `loop` of a loop under way.
#[derive(Debug)]
pub(in crate::chat) struct Loop {
    pub(super) items: Vec<Value>,
    pub(super) at: Cell<usize>,
    /// Loops of the same kind around it.
    pub(super) depth: usize,
    /// What it does where it may be called.
    pub(super) recursive: Option<Rc<ast::For>>,
}

/// A macro, with what it sees besides its parameters and what stands outside of everything.
#[derive(Debug)]
pub(in crate::chat) struct Closure {
    pub(super) definition: Rc<ast::Macro>,
    pub(super) seen: Vec<(Rc<str>, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chat) enum Function {
    Range,
    Namespace,
    Dict,
    RaiseException,
    StrftimeNow,
}

impl Value {
    /// What `what` gives that has no value.
    pub(super) fn undefined(what: &str) -> Value {
        Value::Undefined(what.into())
    }

    pub(in crate::chat) fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number; Python's `True` and `False` are two of them.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// A number of any kind.
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(x) => Some(*x),
            other => other.as_int().map(|n| n as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// Whether Python takes it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(n) => *n != 0,
            Value::Float(x) => *x != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            Value::Namespace(_) | Value::Loop(_) | Value::Macro(_) | Value::Function(_) => true,
        }
    }

    /// What it is, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "undefined",
            Value::None => "none",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::List(list) if list.kind == ListKind::List => "a list",
            Value::List(_) => "a tuple",
            Value::Dict(_) => "a dict",
            Value::Namespace(_) => "a namespace",
            Value::Loop(_) => "a loop",
            Value::Macro(_) => "a macro",
            Value::Function(_) => "a function",
        }
    }

    fn nesting(&self) -> Nesting {
        match self {
            Value::List(list) => list.nesting,
            Value::Dict(dict) => dict.nesting,
            Value::Namespace(_) | Value::Loop(_) | Value::Macro(_) => Nesting { depth: 0, may_change: true },
            _ => Nesting::default(),
        }
    }

    /// How many characters, items or keys.
    pub(super) fn length(&self, meter: &Meter) -> Result<usize> {
        match self {
            Value::Undefined(_) => Ok(0),
            Value::Text(text) => {
                meter.pay_bytes(text.len())?;
                Ok(text.chars().count())
            }
            Value::List(list) => Ok(list.items.len()),
            Value::Dict(dict) => Ok(dict.entries.len()),
            other => fault(format!("{} has no length", other.name())),
        }
    }

    /// What a loop over it goes over.
    pub(super) fn items(&self, meter: &Meter) -> Result<Vec<Value>> {
        match self {
            Value::Undefined(_) => Ok(Vec::new()),
            Value::Text(text) => {
                meter.pay_items(2 * text.len())?;
                Ok(text.chars().map(|c| Value::text(c.encode_utf8(&mut [0; 4]))).collect())
            }
            Value::List(list) => {
                meter.pay_items(list.items.len())?;
                Ok(list.items.clone())
            }
            Value::Dict(dict) => {
                meter.pay_items(dict.entries.len())?;
                Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Loop(own) => {
                meter.pay_items(own.items.len())?;
                Ok(own.items.clone())
            }
            other => fault(format!("{} cannot be gone over", other.name())),
        }
    }
}

fn around<'v>(values: impl Iterator<Item = &'v Value>) -> Result<Nesting> {
    let mut nesting = Nesting::default();
    for inner in values.map(Value::nesting) {
        nesting.depth = nesting.depth.max(inner.depth);
        nesting.may_change |= inner.may_change;
    }
    nesting.depth += 1;
    if nesting.depth > MOST_NESTED {
        return fault("it puts too many values into one another");
    }
    Ok(nesting)
}

/// `items`, which are paid for here, as a list or another sequence.
pub(super) fn sequence(items: Vec<Value>, kind: ListKind, meter: &Meter) -> Result<Value> {
    meter.pay_items(items.len() + 1)?;
    let nesting = around(items.iter())?;
    Ok(Value::List(Rc::new(List { items, kind, nesting })))
}

pub(super) fn list(items: Vec<Value>, meter: &Meter) -> Result<Value> {
    sequence(items, ListKind::List, meter)
}

pub(super) fn tuple(items: Vec<Value>, meter: &Meter) -> Result<Value> {
    sequence(items, ListKind::Tuple, meter)
}

/// `entries`, which have different keys and are paid for here, as a dict.
pub(super) fn dict(entries: Vec<(Value, Value)>, meter: &Meter) -> Result<Value> {
    meter.pay((entries.len() as u64 * 2 + 1).saturating_mul(ITEM))?;
    let nesting = around(entries.iter().flat_map(|(key, value)| [key, value]))?;
    Ok(Value::Dict(Rc::new(Dict { entries, nesting })))
}

impl Namespace {
    pub(super) fn get(&self, name: &str, meter: &Meter) -> Result<Option<Value>> {
        let entries = self.entries.borrow();
        meter.pay_items(entries.len())?;
        Ok(entries.iter().find(|(key, _)| **key == *name).map(|(_, value)| value.clone()))
    }

    /// Gives `name` a value. What can change may not lie in what can change: it could lie in itself.
    pub(super) fn set(&self, name: &Rc<str>, value: Value, meter: &Meter) -> Result<()> {
        if value.nesting().may_change {
            return fault(
                "it puts a namespace, a loop or a macro into a namespace: so values into one another never end",
            );
        }
        let mut entries = self.entries.borrow_mut();
        meter.pay_items(entries.len() + 1)?;
        match entries.iter_mut().find(|(key, _)| key == name) {
            Some((_, place)) => *place = value,
            None => entries.push((name.clone(), value)),
        }
        Ok(())
    }
}

impl Meter {
    /// `text`, which is paid for here, as a value.
    pub(super) fn text(&self, text: impl AsRef<str>) -> Result<Value> {
        let text = text.as_ref();
        self.pay(ITEM + text.len() as u64)?;
        Ok(Value::Text(text.into()))
    }
}
