//! Statements: what a template writes.

use super::arguments::Given;
use super::ast::{self, Arguments, Block, Expr, For, Kind, Target};
use super::filters;
use super::meter::{Meter, Result, fault};
use super::operators::described;
use super::print;
use super::sink::Sink;
use super::value::{Closure, Loop, Value};
use crate::os::calendar::Moment;
use core::cell::Cell;
use std::rc::Rc;

/// Names and their values; of two with one name, the later counts.
type Frame = Vec<(Rc<str>, Value)>;

/// A template under way.
pub(super) struct Run<'m> {
    pub(super) meter: &'m Meter,
    pub(super) now: Moment,
    /// The first holds what stands outside of everything, the last takes what is set.
    frames: Vec<Frame>,
    /// What is written; the last of several is what goes on.
    out: Vec<Sink<'m>>,
}

/// Where a block goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'m> Run<'m> {
    /// What `block` writes, given `values`.
    pub(super) fn text(block: &Block, values: Frame, now: Moment, meter: &'m Meter) -> Result<String> {
        let mut run = Run { meter, now, frames: vec![values], out: Vec::new() };
        run.captured(|run| run.block(block).map(drop))
    }

    /// What `write` writes.
    fn captured(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<String> {
        self.out.push(Sink::new(self.meter));
        let result = write(self);
        let text = self.out.pop().map(Sink::into_string).unwrap_or_default();
        result.map(|()| text)
    }

    fn write(&mut self, value: &Value) -> Result<()> {
        self.out.last_mut().map_or(Ok(()), |sink| print::write(sink, value))
    }

    fn block(&mut self, block: &Block) -> Result<Flow> {
        for statement in block {
            let meter = self.meter;
            let flow = meter.deeper(|| self.statement(&statement.kind)).map_err(|mut fault| {
                fault.line.get_or_insert(statement.line);
                fault
            })?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Kind) -> Result<Flow> {
        match statement {
            Kind::Text(text) => {
                if let Some(sink) = self.out.last_mut() {
                    sink.push(text)?;
                }
            }
            Kind::Print(value) => {
                let value = self.value(value)?;
                self.write(&value)?;
            }
            Kind::If(branches, otherwise) => return self.first_that_holds(branches, otherwise),
            Kind::For(node) => {
                let over = self.value(&node.over)?;
                self.repeat(node, &over, 0)?;
            }
            Kind::Set(target, value) => {
                let value = self.value(value)?;
                self.set(target, value)?;
            }
            Kind::SetBlock(target, block, filters) => self.set_block(target, block, filters)?,
            Kind::With(values, block) => return self.with(values, block),
            Kind::Macro(definition) => {
                let closure = self.closure(definition)?;
                self.set_name(&definition.name, closure)?;
            }
            Kind::CallBlock(call, caller) => self.call_block(call, caller)?,
            Kind::FilterBlock(filters, block) => {
                let value = self.filtered_block(block, filters)?;
                self.write(&value)?;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn first_that_holds(&mut self, branches: &[(Expr, Block)], otherwise: &Block) -> Result<Flow> {
        for (condition, block) in branches {
            if self.value(condition)?.is_true() {
                return self.block(block);
            }
        }
        self.block(otherwise)
    }

    fn with(&mut self, values: &[(Target, Expr)], block: &Block) -> Result<Flow> {
        let mut given = Vec::new();
        for (_, value) in values {
            given.push(self.value(value)?);
        }
        self.framed(Vec::new(), |run| {
            for ((target, _), value) in values.iter().zip(given) {
                run.set(target, value)?;
            }
            run.block(block)
        })
    }

    /// Does `work` with one more frame.
    fn framed<T>(&mut self, frame: Frame, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.frames.push(frame);
        let result = work(self);
        self.frames.pop();
        result
    }

    fn filtered_block(&mut self, block: &Block, filters: &[(Rc<str>, Arguments)]) -> Result<Value> {
        let text = self.captured(|run| run.framed(Vec::new(), |run| run.block(block).map(drop)))?;
        let mut value = self.meter.text(text)?;
        for (name, given) in filters {
            let given = self.given(given)?;
            value = filters::apply(name, &value, &given, self.meter)?;
        }
        Ok(value)
    }

    fn set_block(&mut self, target: &Target, block: &Block, filters: &[(Rc<str>, Arguments)]) -> Result<()> {
        let value = self.filtered_block(block, filters)?;
        self.set(target, value)
    }

    fn call_block(&mut self, call: &Expr, caller: &Rc<ast::Macro>) -> Result<()> {
        let caller = self.closure(caller)?;
        let Expr::Call(callee, given) = call else { return fault("a call block calls a macro") };
        let mut given = self.given(given)?;
        given.by_name.push(("caller".into(), caller));
        let value = self.called(callee, given)?;
        self.write(&value)
    }

    pub(super) fn set(&mut self, target: &Target, value: Value) -> Result<()> {
        match target {
            Target::Name(name) => self.set_name(name, value),
            Target::Attribute(name, attribute) => match self.lookup(name)? {
                Value::Namespace(own) => own.set(attribute, value, self.meter),
                other => fault(format!("{name} is no namespace but {}", described(&other))),
            },
            Target::Several(targets) => {
                let items = value.items(self.meter)?;
                if items.len() != targets.len() {
                    return fault(format!("{} values are there for {} names", items.len(), targets.len()));
                }
                targets.iter().zip(items).try_for_each(|(target, item)| self.set(target, item))
            }
        }
    }

    fn set_name(&mut self, name: &Rc<str>, value: Value) -> Result<()> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        self.meter.pay_items(frame.len() + 1)?;
        match frame.iter_mut().find(|(own, _)| own == name) {
            Some((_, place)) => *place = value,
            None => frame.push((name.clone(), value)),
        }
        Ok(())
    }

    pub(super) fn lookup(&self, name: &str) -> Result<Value> {
        for frame in self.frames.iter().rev() {
            self.meter.pay(1 + 8 * frame.len() as u64)?;
            if let Some((_, value)) = frame.iter().rev().find(|(own, _)| **own == *name) {
                return Ok(value.clone());
            }
        }
        Ok(Value::undefined(name))
    }

    /// The loop `node` over `over`, within `depth` of its kind.
    fn repeat(&mut self, node: &Rc<For>, over: &Value, depth: usize) -> Result<()> {
        let mut items = over.items(self.meter)?;
        if let Some(condition) = &node.condition {
            let mut kept = Vec::new();
            for item in items {
                let holds = self.framed(Vec::new(), |run| {
                    run.set(&node.target, item.clone())?;
                    Ok(run.value(condition)?.is_true())
                })?;
                if holds {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.block(&node.otherwise).map(drop);
        }
        let recursive = node.recursive.then(|| node.clone());
        let own = Rc::new(Loop { items, at: Cell::new(0), depth, recursive });
        self.framed(Vec::new(), |run| {
            for (at, item) in own.items.iter().enumerate() {
                own.at.set(at);
                if let Some(frame) = run.frames.last_mut() {
                    frame.clear();
                }
                run.set_name(&"loop".into(), Value::Loop(own.clone()))?;
                run.set(&node.target, item.clone())?;
                if run.block(&node.body)? == Flow::Break {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What `own` writes over `over`, called from within itself.
    pub(super) fn again(&mut self, own: &Loop, over: &Value) -> Result<Value> {
        let Some(node) = &own.recursive else { return fault("a loop that is called is recursive") };
        let text = self.captured(|run| run.repeat(node, over, own.depth + 1))?;
        self.meter.text(text)
    }

    /// A macro with what it sees here.
    fn closure(&self, definition: &Rc<ast::Macro>) -> Result<Value> {
        let frames = &self.frames[1..];
        self.meter.pay_items(2 + frames.iter().map(Vec::len).sum::<usize>())?;
        let seen = frames.iter().flatten().cloned().collect();
        Ok(Value::Macro(Rc::new(Closure { definition: definition.clone(), seen })))
    }

    /// What a macro writes.
    pub(super) fn expanded(&mut self, closure: &Rc<Closure>, given: Given) -> Result<Value> {
        let definition = &closure.definition;
        self.meter
            .pay_items(closure.seen.len() + given.by_place.len() + given.by_name.len() + definition.parameters.len())?;
        let name = &definition.name;
        if given.by_place.len() > definition.parameters.len() {
            return fault(format!("the macro {name} takes {} arguments at most", definition.parameters.len()));
        }
        let mut seen = closure.seen.clone();
        seen.push((name.clone(), Value::Macro(closure.clone())));
        let outer = self.frames.split_off(1);
        self.frames.extend([seen, Vec::new()]);
        let text = self.captured(|run| {
            run.parameters(closure, given)?;
            run.block(&definition.body).map(drop)
        });
        self.frames.truncate(1);
        self.frames.extend(outer);
        self.meter.text(text?)
    }

    /// Gives the parameters of a macro their values.
    fn parameters(&mut self, closure: &Closure, given: Given) -> Result<()> {
        let definition = &closure.definition;
        let mut by_name = given.by_name;
        let mut by_place = given.by_place.into_iter();
        for (name, default) in &definition.parameters {
            let named = by_name.iter().position(|(own, _)| own == name).map(|at| by_name.remove(at).1);
            let value = match (by_place.next(), named, default) {
                (Some(_), Some(_), _) => return fault(format!("the macro {} is given {name} twice", definition.name)),
                (Some(value), ..) | (None, Some(value), _) => value,
                (None, None, Some(default)) => self.value(default)?,
                (None, None, None) => Value::undefined(name),
            };
            self.set_name(name, value)?;
        }
        for (name, value) in by_name {
            if *name != *"caller" {
                return fault(format!("the macro {} takes no argument {name}", definition.name));
            }
            self.set_name(&name, value)?;
        }
        Ok(())
    }
}
