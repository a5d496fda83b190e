//! The fields of config.json, as the families read them.

use whit::error::{Error, Result, printable};
use whit::model::spec::Part;
use whit::model::{Activation, Config, MlpKind};

use super::rope::{self, RotaryKind};
use crate::families::{Factors, Multipliers, RowFactors};
use crate::source::json::Value;
use crate::source::rope::Rotary;

/// Reads fields of the object and remembers those that are missing.
pub(crate) struct Fields<'j> {
    object: Value<'j>,
    /// What `object` is a field of, where it is the language model of something larger.
    whole: Option<Value<'j>>,
    /// Positions that are wanted.
    wanted: Option<usize>,
    /// Names of fields, and others that go first.
    also_called: &'static [(&'static str, &'static str)],
    /// Dimensions that may be left out.
    defaults: &'static [(&'static str, usize)],
    missing: Vec<&'static str>,
    notes: Vec<String>,
    factors: Factors,
}

impl<'j> Fields<'j> {
    /// Of the `object` that describes a language model, and of the `whole` that it may be a field of.
    pub(in crate::source) fn new(object: Value<'j>, whole: Option<Value<'j>>, wanted: Option<usize>) -> Self {
        Fields {
            object,
            whole,
            wanted,
            also_called: &[],
            defaults: &[],
            missing: Vec::new(),
            notes: Vec::new(),
            factors: Factors::default(),
        }
    }

    /// What [`Fields::note`] and [`Fields::scale`] were given.
    pub(in crate::source) fn into_told(self) -> (Vec<String>, Factors) {
        (self.notes, self.factors)
    }

    /// Fields have other names, too: where the second of a pair is there, it is read for the first.
    pub(crate) fn also_called(&mut self, names: &'static [(&'static str, &'static str)]) {
        self.also_called = names;
    }

    /// The name of the field `key` in this file.
    fn name<'k>(&self, key: &'k str) -> &'k str {
        let others = self.also_called.iter().filter(|(known, _)| *known == key).map(|(_, other)| *other);
        others.into_iter().find(|other| self.object.get(other).is_some()).unwrap_or(key)
    }

    /// A number, unless it is absent or null.
    pub(crate) fn number(&self, key: &str) -> Result<Option<usize>> {
        let key = self.name(key);
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let number = value.u64(key)?;
        if number > 1 << 31 {
            return Err(value.error(format!("{number} is beyond every limit"), key));
        }
        Ok(Some(number as usize))
    }

    /// A number; `None` where it is off, `default` where it is absent, which the user is told.
    pub(crate) fn usize(&mut self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        let key = self.name(key);
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

    /// Dimensions that config.json may leave out, and what they are then, which the user is told.
    pub(crate) fn defaults(&mut self, defaults: &'static [(&'static str, usize)]) {
        self.defaults = defaults;
    }

    /// A number that must be there, under one of some names of which the first that is there counts; [`Fields::check`] tells of
    /// those that are not, unless they have [`Fields::defaults`].
    pub(crate) fn required(&mut self, names: &[&'static str]) -> Result<usize> {
        for name in names {
            if let Some(value) = self.number(name)? {
                return Ok(value);
            }
        }
        if let Some((name, default)) = self.defaults.iter().find(|(known, _)| names.contains(known)) {
            self.notes.push(absent(name, default));
            return Ok(*default);
        }
        self.missing.extend(names.last());
        Ok(1)
    }

    /// A positive number, or `default` where it is absent or null.
    pub(crate) fn required_or(&self, key: &str, default: usize) -> Result<usize> {
        match self.number(self.name(key))? {
            Some(0) => Err(self.error(key, "0").hint("name the number that the model was trained with")),
            number => Ok(number.unwrap_or(default)),
        }
    }

    /// The numbers of a list, none where there is no list.
    pub(crate) fn list(&self, key: &str) -> Result<Vec<usize>> {
        let Some(list) = self.object.set(key) else { return Ok(Vec::new()) };
        list.items(key)?.map(|value| Ok(value.u64(key)? as usize)).collect()
    }

    /// A number, or `default` where it is absent or null, which the user is told.
    pub(crate) fn float(&mut self, key: &str, default: f64) -> Result<f64> {
        let key = self.name(key);
        let Some(value) = self.object.get(key) else {
            self.notes.push(absent(key, default));
            return Ok(default);
        };
        value.f64(key)
    }

    /// A positive number, or `default` where it is absent or null.
    pub(crate) fn positive(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.object.get(key) else { return Ok(default) };
        let number = value.f64(key)?;
        if number as f32 > 0.0 && (number as f32).is_finite() {
            return Ok(number);
        }
        Err(value.expected("a positive number", key).hint("name the number that the model was trained with"))
    }

    /// A truth value, or `default` where there is none.
    pub(crate) fn bool(&self, key: &str, default: bool) -> Result<bool> {
        let key = self.name(key);
        match self.object.get(key) {
            None => Ok(default),
            Some(value) if value.is_off() => Ok(false),
            Some(value) => value.bool(key),
        }
    }

    /// Whether the field `key` is `word`; it may be absent or null.
    pub(crate) fn is(&self, key: &str, word: &str) -> Result<bool> {
        self.object.get(key).map_or(Ok(false), |value| Ok(value.str(key)? == word))
    }

    /// Whether the unembedding is the embedding; `default` where nothing says so.
    pub(crate) fn tied(&self, default: bool) -> Result<bool> {
        let key = "tie_word_embeddings";
        let said = self.whole.and_then(|whole| whole.get(key)).filter(|value| !value.is_off());
        said.map_or_else(|| self.bool(key, default), |value| value.bool(key))
    }

    /// The field `key` is there, null or not.
    pub(crate) fn names(&self, key: &str) -> bool {
        self.object.entry(key).is_some()
    }

    /// The field `key` says something.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.set(key).is_some()
    }

    /// Refuses a configuration that has none of the fields.
    pub(crate) fn one_of(&self, keys: &[&str]) -> Result<()> {
        if keys.iter().any(|key| self.has(key)) {
            return Ok(());
        }
        let error = self.object.error(format!("missing: {}", keys[0]), keys[0]);
        Err(error.hint("write it as the authors give it: config.json may be an incomplete copy"))
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

    /// What stands between the matrices of the MLP, by the name of its activation; `default` where the field names none.
    pub(crate) fn activation(&self, key: &str, default: MlpKind) -> Result<MlpKind> {
        let key = self.name(key);
        let Some(value) = self.object.get(key) else { return Ok(default) };
        let name = value.str(key)?;
        let known = || {
            let kinds =
                ACTIVATIONS.iter().map(|(name, activation)| (name, MlpKind { activation: *activation, ..default }));
            kinds.filter(|(_, kind)| MlpKind::ALL.contains(kind))
        };
        if let Some((_, kind)) = known().find(|(known, _)| **known == name) {
            return Ok(kind);
        }
        let error = value.error(format!("activation \"{}\" is not supported", printable(&name)), key);
        let names: Vec<_> = known().map(|(name, _)| *name).collect();
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
        let key = self.name("layer_types");
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

    /// The numbers of a list that are not negative, none where there is no list.
    pub(crate) fn floats(&self, key: &str) -> Result<Vec<f64>> {
        let Some(list) = self.object.set(key) else { return Ok(Vec::new()) };
        let number = |value: Value<'_>| match value.f64(key)? {
            number if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(value.expected("a number that is not negative", key)),
        };
        list.items(key)?.map(number).collect()
    }

    /// Two numbers between which others are held, unless they are absent or null; the second may be infinite.
    pub(crate) fn limits(&self, key: &str) -> Result<Option<[f32; 2]>> {
        let Some(list) = self.object.get(key) else { return Ok(None) };
        let numbers = list.items(key)?.take(3).map(|value| value.limit(key)).collect::<Result<Vec<_>>>()?;
        match numbers[..] {
            [low, high] if low >= 0.0 && low <= high => Ok(Some([low as f32, high as f32])),
            _ => Err(list.expected("two numbers, the smaller one first and not below 0", key)),
        }
    }

    /// A list of `N` positive numbers, or all 1 where it is absent or null.
    pub(crate) fn multipliers<const N: usize>(&self, key: &str) -> Result<[f64; N]> {
        let Some(list) = self.object.get(key) else { return Ok([1.0; N]) };
        let numbers = list.items(key)?.take(N + 1).map(|value| value.f64(key)).collect::<Result<Vec<_>>>()?;
        let positive = numbers.iter().all(|number| *number as f32 > 0.0 && (*number as f32).is_finite());
        <[f64; N]>::try_from(numbers).ok().filter(|_| positive).ok_or_else(|| {
            let error = list.expected(&format!("{N} positive numbers"), key);
            error.hint("name the numbers that the model was trained with")
        })
    }

    /// Whether the field `key` is a list without elements.
    pub(crate) fn is_empty_list(&self, key: &str) -> Result<bool> {
        self.object.get(key).map_or(Ok(false), |list| Ok(list.items(key)?.next().is_none()))
    }

    /// Numbers of each layer by their `names`: those of all layers, but for layers that have an object of their own in the object `key`,
    /// by their number.
    pub(crate) fn of_layers<const N: usize>(
        &self,
        key: &str,
        names: [&str; N],
        all: [usize; N],
        n_layers: usize,
    ) -> Result<[Vec<usize>; N]> {
        let mut out = all.map(|value| vec![value; n_layers]);
        let Some(object) = self.object.set(key) else { return Ok(out) };
        for (layer, own) in object.entries(key)? {
            let Some(layer) = layer.parse().ok().filter(|layer: &usize| *layer < n_layers) else {
                let error = own.error(format!("\"{}\" is none of {n_layers} layers", printable(&layer)), key);
                return Err(error.hint("name layers by their numbers, from 0 on"));
            };
            for (name, value) in own.entries(key)? {
                let Some(place) = names.iter().position(|known| *known == name) else {
                    let error = value.error(format!("\"{}\" by layer is not supported", printable(&name)), key);
                    return Err(error.hint(format!("supported: {}", names.join(", "))));
                };
                out[place][layer] = match value.u64(key)? {
                    number @ 1..=0x8000_0000 => number as usize,
                    number => return Err(value.error(format!("{number} is beyond every limit"), key)),
                };
            }
        }
        Ok(out)
    }

    /// Of each layer whether it turns: `no_rope_layers` has a 1 where it does; where there is no list, all but the last of each
    /// `no_rope_layer_interval` layers do.
    pub(crate) fn turning_layers(&self, n_layers: usize) -> Result<Vec<bool>> {
        let key = "no_rope_layers";
        let Some(list) = self.object.set(key) else {
            let interval = self.number("no_rope_layer_interval")?.unwrap_or(4);
            return Ok((1..=n_layers).map(|layer| !layer.is_multiple_of(interval)).collect());
        };
        let turns = list.items(key)?.map(|value| Ok(value.u64(key)? != 0)).collect::<Result<Vec<_>>>()?;
        if turns.len() != n_layers {
            let error = list.error(format!("{} elements for {n_layers} layers", turns.len()), key);
            return Err(error.hint("say of each layer whether it turns, or remove the list"));
        }
        Ok(turns)
    }

    /// The words of a list of pairs, each a list of words and how often it is repeated, by their places among those that are `known`.
    pub(crate) fn repeated_words(&self, key: &str, known: &[&str]) -> Result<Option<Vec<usize>>> {
        let Some(list) = self.object.set(key) else { return Ok(None) };
        let mut out = Vec::new();
        for pair in list.items(key)? {
            let (words, times) = match pair.items(key)?.take(3).collect::<Vec<_>>()[..] {
                [words, times] => (words, times.u64(key)?),
                _ => return Err(pair.expected("a list of words and how often it is repeated", key)),
            };
            let mut places = Vec::new();
            for value in words.items(key)? {
                let word = value.str(key)?;
                let place = known.iter().position(|known| *known == word);
                let hint = format!("supported: {}", known.join(", "));
                let unknown = || value.error(format!("unknown word \"{}\"", printable(&word)), key).hint(hint);
                places.push(place.ok_or_else(unknown)?);
            }
            for _ in 0..times {
                out.extend_from_slice(&places);
                if out.len() > 1024 || places.is_empty() {
                    return Err(pair.error("no word, or more than 1024 of them", key));
                }
            }
        }
        Ok(Some(out))
    }

    /// Refuses a list of words that has others than these, or is not there.
    pub(crate) fn only(&self, key: &str, words: &[&str]) -> Result<()> {
        let hint = format!("supported here: {}", words.join(", "));
        let key = self.name(key);
        let Some(list) = self.object.set(key) else {
            return Err(self.object.error(format!("missing: {key}"), key).hint(hint));
        };
        for value in list.items(key)? {
            let word = value.str(key)?;
            if !words.contains(&&*word) {
                return Err(value.error(format!("\"{}\" is not supported", printable(&word)), key).hint(hint));
            }
        }
        Ok(())
    }

    /// Rotary positions of heads of `head_dim`, in a context of so many positions, of a family of this `kind`.
    pub(crate) fn rotary(&mut self, kind: RotaryKind, dims: (usize, usize)) -> Result<Rotary> {
        rope::read(self.object, kind, dims, self.wanted, &mut self.notes)
    }

    /// The layers that `turn` turn by `rotary`, see [`Factors::turn`].
    pub(crate) fn turn(&mut self, rotary: &Rotary, turn: &[bool]) {
        self.factors.turn(rotary, turn);
    }

    /// The rotary frequencies of layers with a window, heads being of `head_dim`: by the settings of their type, or without a scaling
    /// by the base that the `field` names, `theta` where it does not.
    pub(crate) fn local_rotary(
        &mut self,
        (field, theta): (Option<&str>, f64),
        head_dim: usize,
        kind: RotaryKind,
    ) -> Result<Vec<f32>> {
        let kind = RotaryKind { layer_type: Some("sliding_attention"), theta, ..kind };
        match rope::read_of_type(self.object, kind, (head_dim, usize::MAX), self.wanted, &mut self.notes)? {
            Some(rotary) => Ok(rotary.freqs),
            None => {
                let theta = field.map_or(Ok(theta), |field| self.positive(field, theta))?;
                Ok(crate::source::rope::frequencies(head_dim, theta))
            }
        }
    }

    /// The network `config` is to be multiplied, see [`Factors::multiply`].
    pub(crate) fn multiply(&mut self, config: &Config, multipliers: Multipliers) {
        self.factors.multiply(config, multipliers);
    }

    /// A part is to be multiplied, see [`Factors::scale`].
    pub(crate) fn scale(&mut self, part: Part, factors: Vec<f32>) {
        self.factors.scale(part, factors);
    }

    /// The rows of a part are to be multiplied, see [`Factors::scale_rows`].
    pub(crate) fn scale_rows(&mut self, part: Part, factors: RowFactors) {
        self.factors.scale_rows(part, factors);
    }
}

/// Activations by their names in transformers.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu2", Activation::ReluSquared),
    ("tanh", Activation::Tanh),
];

/// What the user is told of a field that is absent.
fn absent(key: &str, default: impl std::fmt::Display) -> String {
    format!("config.json does not name {key}: {default}, as in transformers")
}
