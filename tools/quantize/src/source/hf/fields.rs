//! The fields of config.json, as the families read them.

use whit::error::{Error, Result, printable};
use whit::model::MlpKind;
use whit::model::spec::Part;

use super::rope::{self, Rotary};
use crate::families::Factors;
use crate::source::json::Value;

/// Reads fields of the object and remembers those that are missing.
pub(crate) struct Fields<'j> {
    object: Value<'j>,
    missing: Vec<&'static str>,
    notes: Vec<String>,
    factors: Factors,
}

impl<'j> Fields<'j> {
    /// Of the file's `object`.
    pub(in crate::source) fn new(object: Value<'j>) -> Self {
        Fields { object, missing: Vec::new(), notes: Vec::new(), factors: Factors::default() }
    }

    /// What [`Fields::note`] and [`Fields::scale`] were given.
    pub(in crate::source) fn into_told(self) -> (Vec<String>, Factors) {
        (self.notes, self.factors)
    }

    /// A number, unless it is absent or null.
    fn number(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let number = value.u64(key)?;
        if number > 1 << 31 {
            return Err(value.error(format!("{number} is beyond every limit"), key));
        }
        Ok(Some(number as usize))
    }

    /// A number; `None` where it is off, `default` where it is absent, which the user is told.
    pub(crate) fn usize(&mut self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        match (self.object.entry(key), default) {
            (Some(value), _) if value.is_off() && value.u64(key).is_err() => Ok(None),
            (Some(_), _) => self.number(key),
            (None, Some(default)) => {
                self.notes.push(absent(key, default));
                Ok(Some(default))
            }
            (None, None) => Ok(None),
        }
    }

    /// A number that must be there, under one of some names of which the first that is there counts; [`Fields::check`] tells of
    /// those that are not.
    pub(crate) fn required(&mut self, names: &[&'static str]) -> Result<usize> {
        for name in names {
            if let Some(value) = self.number(name)? {
                return Ok(value);
            }
        }
        self.missing.extend(names.last());
        Ok(1)
    }

    /// A number, or `default` where it is absent or null, which the user is told.
    pub(crate) fn float(&mut self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.object.get(key) else {
            self.notes.push(absent(key, default));
            return Ok(default);
        };
        value.f64(key)
    }

    /// A truth value, or `default` where there is none.
    pub(crate) fn bool(&self, key: &str, default: bool) -> Result<bool> {
        match self.object.get(key) {
            None => Ok(default),
            Some(value) if value.is_off() => Ok(false),
            Some(value) => value.bool(key),
        }
    }

    /// An error in the field `key`.
    pub(crate) fn error(&self, key: &str, message: impl AsRef<str>) -> Error {
        self.object.get(key).unwrap_or(self.object).error(message, key)
    }

    /// Refuses to go on where a required field was missing.
    pub(crate) fn check(&self) -> Result<()> {
        let error = match &self.missing[..] {
            [] => return Ok(()),
            [only] => self.object.error(format!("missing: {only}"), only),
            all => self.object.error(format!("missing: {}", all.join(", ")), "fields"),
        };
        Err(error.hint("config.json names every dimension of a model: copy it again from where the weights are from"))
    }

    /// What the activation of the MLP means, by its name: the first of `known` where the field names none.
    pub(crate) fn activation(&self, key: &str, known: &[(&str, MlpKind)]) -> Result<MlpKind> {
        let Some(value) = self.object.get(key) else { return Ok(known[0].1) };
        let name = value.str(key)?;
        if let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) {
            return Ok(*kind);
        }
        let error = value.error(format!("activation \"{}\" is not supported", printable(&name)), key);
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        Err(error.hint(format!(
            "supported: {}; a model works with its own only, so this one cannot be converted yet",
            names.join(", ")
        )))
    }

    /// Something that the user should know.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Of each layer whether its attention has a window, where `layer_types` says so.
    pub(crate) fn layer_types(&self, n_layers: usize) -> Result<Option<Vec<bool>>> {
        let types = self.types_among(["full_attention", "sliding_attention"], n_layers)?;
        Ok(types.map(|types| types.into_iter().map(|kind| kind == 1).collect()))
    }

    /// Of each layer which of the `known` types `layer_types` says that it has, where it says so.
    pub(crate) fn types_among<const N: usize>(&self, known: [&str; N], n_layers: usize) -> Result<Option<Vec<usize>>> {
        let key = "layer_types";
        let Some(types) = self.object.set(key) else { return Ok(None) };
        let mut kinds = Vec::new();
        for value in types.items(key)? {
            let name = value.str(key)?;
            let Some(kind) = known.iter().position(|known| *known == name) else {
                let error = value.error(format!("unknown type \"{}\"", printable(&name)), key);
                return Err(error.hint(format!("supported: {}", known.join(", "))));
            };
            kinds.push(kind);
        }
        if kinds.len() != n_layers {
            let error = types.error(format!("{} elements for {n_layers} layers", kinds.len()), key);
            return Err(error.hint("name the type of each layer, or remove the list"));
        }
        Ok(Some(kinds))
    }

    /// A list of numbers, which may be empty, unless it is absent or null.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<u64>>> {
        let Some(list) = self.object.get(key) else { return Ok(None) };
        list.items(key)?.map(|value| value.u64(key)).collect::<Result<_>>().map(Some)
    }

    /// Rotary positions of heads of `head_dim`, in a context of so many positions.
    pub(crate) fn rotary(&mut self, head_dim: usize, context: usize) -> Result<Rotary> {
        self.rotary_of(head_dim, context, rope::DEFAULT_THETA)
    }

    /// The same, of a family that has another base where none is named.
    pub(crate) fn rotary_of(&mut self, head_dim: usize, context: usize, theta: f64) -> Result<Rotary> {
        rope::read(self.object, head_dim, context, theta, &mut self.notes)
    }

    /// A part is to be multiplied, see [`Factors::scale`].
    pub(crate) fn scale(&mut self, part: Part, factors: Vec<f32>) {
        self.factors.scale(part, factors);
    }
}

/// What the user is told of a field that is absent.
fn absent(key: &str, default: impl std::fmt::Display) -> String {
    format!("config.json does not name {key}: {default}, as in transformers")
}
