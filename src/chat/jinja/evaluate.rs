//! Expressions: what a template computes.

use super::arguments::Given;
use super::ast::{Arguments, Comparison, Expr};
use super::compare;
use super::filters;
use super::functions;
use super::items;
use super::meter::{Result, fault};
use super::methods;
use super::operators::{self, described};
use super::predicates;
use super::print;
use super::run::Run;
use super::sink::Sink;
use super::value::{self, Value};
use core::cmp::Ordering;

impl Run<'_> {
    /// What `expression` gives.
    pub(super) fn value(&mut self, expression: &Expr) -> Result<Value> {
        let meter = self.meter;
        meter.deeper(|| match expression {
            Expr::None => Ok(Value::None),
            Expr::Bool(value) => Ok(Value::Bool(*value)),
            Expr::Int(n) => Ok(Value::Int(*n)),
            Expr::Float(x) => Ok(Value::Float(*x)),
            Expr::Text(text) => Ok(Value::Text(text.clone())),
            Expr::Name(name) => self.named(name),
            Expr::List(items) => value::list(self.values(items)?, meter),
            Expr::Tuple(items) => value::tuple(self.values(items)?, meter),
            Expr::Dict(entries) => self.dict(entries),
            Expr::Not(inner) => Ok(Value::Bool(!self.value(inner)?.is_true())),
            Expr::Negative(inner) => operators::negative(&self.value(inner)?),
            Expr::Positive(inner) => operators::positive(&self.value(inner)?),
            Expr::Binary(operator, sides) => {
                let (a, b) = (self.value(&sides.0)?, self.value(&sides.1)?);
                operators::binary(*operator, &a, &b, meter)
            }
            Expr::Concat(parts) => self.concat(parts),
            Expr::Compare(first, rest) => self.compare(first, rest),
            Expr::And(sides) => {
                let first = self.value(&sides.0)?;
                if first.is_true() { self.value(&sides.1) } else { Ok(first) }
            }
            Expr::Or(sides) => {
                let first = self.value(&sides.0)?;
                if first.is_true() { Ok(first) } else { self.value(&sides.1) }
            }
            Expr::Choose(parts) => match (self.value(&parts.0)?.is_true(), &parts.2) {
                (true, _) => self.value(&parts.1),
                (false, Some(otherwise)) => self.value(otherwise),
                (false, None) => Ok(Value::undefined("a choice without else")),
            },
            Expr::Filter(inner, name, given) => {
                let (inner, given) = (self.value(inner)?, self.given(given)?);
                filters::apply(name, &inner, &given, meter)
            }
            Expr::Test(inner, name, given, negated) => {
                let (inner, given) = (self.value(inner)?, self.given(given)?);
                Ok(Value::Bool(self.holds(&inner, name, &given)? != *negated))
            }
            Expr::Attribute(inner, name) => items::attribute(&self.value(inner)?, name, meter),
            Expr::Item(parts) => {
                let (inner, key) = (self.value(&parts.0)?, self.value(&parts.1)?);
                items::item(&inner, &key, meter)
            }
            Expr::Slice(inner, bounds) => self.slice(inner, bounds),
            Expr::Call(callee, given) => {
                let given = self.given(given)?;
                self.called(callee, given)
            }
        })
    }

    fn values(&mut self, expressions: &[Expr]) -> Result<Vec<Value>> {
        expressions.iter().map(|expression| self.value(expression)).collect()
    }

    /// The arguments of a call, computed.
    pub(super) fn given(&mut self, arguments: &Arguments) -> Result<Given> {
        let by_place = self.values(&arguments.by_place)?;
        let mut by_name = Vec::new();
        for (name, expression) in &arguments.by_name {
            by_name.push((name.clone(), self.value(expression)?));
        }
        self.meter.pay_items(by_place.len() + by_name.len())?;
        Ok(Given { by_place, by_name })
    }

    /// The value of a name: of a variable, or of a function of the language.
    fn named(&self, name: &str) -> Result<Value> {
        let value = self.lookup(name)?;
        match functions::named(name) {
            Some(function) if value.is_undefined() => Ok(Value::Function(function)),
            _ => Ok(value),
        }
    }

    fn dict(&mut self, entries: &[(Expr, Expr)]) -> Result<Value> {
        let mut out = Vec::new();
        for (key, value) in entries {
            let (key, value) = (self.value(key)?, self.value(value)?);
            compare::put(&mut out, key, value, self.meter)?;
        }
        value::dict(out, self.meter)
    }

    fn concat(&mut self, parts: &[Expr]) -> Result<Value> {
        let mut sink = Sink::new(self.meter);
        for part in parts {
            print::write(&mut sink, &self.value(part)?)?;
        }
        sink.into_value()
    }

    fn compare(&mut self, first: &Expr, rest: &[(Comparison, Expr)]) -> Result<Value> {
        let meter = self.meter;
        let mut left = self.value(first)?;
        for (comparison, right) in rest {
            let right = self.value(right)?;
            let order = || compare::order(&left, &right, meter);
            let holds = match comparison {
                Comparison::Equal => compare::equal(&left, &right, meter)?,
                Comparison::NotEqual => !compare::equal(&left, &right, meter)?,
                Comparison::Less => order()? == Some(Ordering::Less),
                Comparison::Greater => order()? == Some(Ordering::Greater),
                Comparison::LessOrEqual => order()?.is_some_and(Ordering::is_le),
                Comparison::GreaterOrEqual => order()?.is_some_and(Ordering::is_ge),
                Comparison::In => compare::contains(&right, &left, meter)?,
                Comparison::NotIn => !compare::contains(&right, &left, meter)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn slice(&mut self, inner: &Expr, bounds: &[Option<Expr>; 3]) -> Result<Value> {
        let value = self.value(inner)?;
        let mut numbers = [Value::None, Value::None, Value::None];
        for (number, bound) in numbers.iter_mut().zip(bounds) {
            if let Some(bound) = bound {
                *number = self.value(bound)?;
            }
        }
        items::slice(&value, numbers.each_ref().map(Some), self.meter)
    }

    fn holds(&mut self, value: &Value, test: &str, given: &Given) -> Result<bool> {
        let names = |exists: fn(&str) -> bool| value.as_str().is_some_and(exists);
        match test {
            "filter" => Ok(names(filters::exists)),
            "test" => Ok(names(predicates::exists)),
            _ => predicates::holds(test, value, given, self.meter),
        }
    }

    /// What `callee` gives for `given`. A call of an attribute is one of a method, where there is such a method.
    pub(super) fn called(&mut self, callee: &Expr, given: Given) -> Result<Value> {
        let Expr::Attribute(owner, name) = callee else {
            let callee = self.value(callee)?;
            return self.call(&callee, given);
        };
        let owner = self.value(owner)?;
        if let Some(result) = methods::call(&owner, name, &given, self.meter)? {
            return Ok(result);
        }
        let callee = items::attribute(&owner, name, self.meter)?;
        if callee.is_undefined() {
            return fault(format!("{} has no method {name}", owner.name()));
        }
        self.call(&callee, given)
    }

    fn call(&mut self, callee: &Value, given: Given) -> Result<Value> {
        match callee {
            Value::Macro(closure) => self.expanded(closure, given),
            Value::Function(function) => functions::call(*function, &given, self.now, self.meter),
            Value::Loop(own) => match &given.by_place[..] {
                [over] if given.by_name.is_empty() => self.again(own, over),
                _ => fault("a loop is called with one argument"),
            },
            other => fault(format!("{} cannot be called", described(other))),
        }
    }
}
