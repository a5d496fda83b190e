//! What config.json says of rotary positions: `rope_parameters` of transformers 5, `rope_theta` and `rope_scaling` of older
//! versions. Where several of them speak, that one counts which counts in transformers.

use whit::error::{Error, Result, printable};

use crate::source::json::{Type, Value};
use crate::source::rope::{self, Rotary};

/// What families have differently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RotaryKind {
    /// The base of the frequencies where config.json names none.
    pub(crate) theta: f64,
    /// The base, whatever config.json names.
    pub(crate) base: Option<f64>,
    /// The field of the base, beside those of the scaling.
    pub(crate) theta_field: &'static str,
    /// The part of each head that turns where config.json does not say; `None`: whole heads turn, whatever it says.
    pub(crate) part: Option<f64>,
    /// The field of the part, beside those of the scaling.
    pub(crate) part_field: &'static str,
    /// The field of the number of elements of each head that turn, in place of a part, and what it is where config.json does not say.
    pub(crate) dim: Option<(&'static str, usize)>,
    /// Names of types, and what they mean.
    pub(crate) also_called: &'static [(&'static str, &'static str)],
    /// Positions before the scaling, where config.json does not say beside its other dimensions.
    pub(crate) original_context: Option<f64>,
    /// Of the type "dynamic" a field `alpha` stretches the base, whatever the length of the text.
    pub(crate) alpha: bool,
    /// The type of layers whose settings are read where they are by type of layer.
    pub(crate) layer_type: Option<&'static str>,
    /// Beyond the positions before the scaling queries grow with their position.
    pub(crate) grows: bool,
}

impl RotaryKind {
    /// As Llama has it.
    pub(crate) const WHOLE: RotaryKind = RotaryKind {
        theta: 10_000.0,
        base: None,
        theta_field: "rope_theta",
        part: None,
        part_field: "partial_rotary_factor",
        dim: None,
        also_called: &[],
        original_context: None,
        alpha: false,
        layer_type: None,
        grows: false,
    };
}

/// The types that are read, for messages.
const SUPPORTED: &str = "supported: default, linear, dynamic, llama3, yarn, longrope, proportional";

/// The object that describes the scaling.
#[derive(Clone, Copy)]
struct Parameters<'j> {
    object: Value<'j>,
    /// Its name.
    path: &'static str,
    /// The whole configuration.
    config: Value<'j>,
    kind: RotaryKind,
    /// Positions that are wanted.
    wanted: Option<usize>,
}

/// Reads the rotary positions of heads of `head_dim` in a `context` out of the configuration of a family of this `kind`.
pub(in crate::source) fn read(
    config: Value<'_>,
    kind: RotaryKind,
    (head_dim, context): (usize, usize),
    wanted: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Rotary> {
    if let Some(rotary) = read_of_type(config, kind, (head_dim, context), wanted, notes)? {
        return Ok(rotary);
    }
    let named = |path: &'static str| Some(Parameters { object: config.set(path)?, path, config, kind, wanted });
    let theta = positive(config, kind.theta_field, "")?.unwrap_or(kind.theta);
    let theta = kind.base.unwrap_or(theta);
    let Some(parameters) = named("rope_scaling").or_else(|| named("rope_parameters")) else {
        let alone = Parameters { object: config, path: "", config, kind, wanted };
        let dim = alone.dim(head_dim)?;
        return Ok(Rotary::of_part(dim, head_dim, theta, context));
    };
    if parameters.object.kind() != Type::Object {
        return Err(parameters.object.expected("an object", parameters.path));
    }
    let inner = positive(parameters.object, "rope_theta", parameters.path)?;
    let theta = kind.base.or(inner).unwrap_or(theta);
    parameters.checked(theta, (head_dim, context), notes)
}

/// As [`read`], where `rope_parameters` are by type of layer and have those of the type of this `kind`.
pub(in crate::source) fn read_of_type(
    config: Value<'_>,
    kind: RotaryKind,
    dims: (usize, usize),
    wanted: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Option<Rotary>> {
    let path = "rope_parameters";
    let of_type = || config.set(path)?.set(kind.layer_type?).filter(|object| object.kind() == Type::Object);
    let Some(object) = of_type() else { return Ok(None) };
    let parameters = Parameters { object, path, config, kind, wanted };
    let theta = kind.base.or(positive(object, "rope_theta", path)?).unwrap_or(kind.theta);
    parameters.checked(theta, dims, notes).map(Some)
}

impl Parameters<'_> {
    /// Rotary positions whose attention has a factor above zero.
    fn checked(self, theta: f64, (head_dim, context): (usize, usize), notes: &mut Vec<String>) -> Result<Rotary> {
        let rotary = self.rotary(theta, head_dim, context, notes)?;
        let factor = rotary.attention_factor;
        if factor.is_finite() && factor > 0.0 {
            return Ok(rotary);
        }
        let field = self.field("attention_factor");
        Err(self.object.error(format!("these settings make it {factor}, expected a positive number"), &field))
    }
}

impl<'j> Parameters<'j> {
    /// Rotary positions of the type that is named.
    fn rotary(self, theta: f64, head_dim: usize, context: usize, notes: &mut Vec<String>) -> Result<Rotary> {
        let kind = self.kind()?;
        let whole = (self.kind.part.is_none() && self.kind.dim.is_none()) || kind == "proportional";
        match &*kind {
            "proportional" => {}
            "default" if whole => notes
                .extend(self.part()?.map(|part| format!("partial_rotary_factor {part} is ignored: whole heads turn"))),
            _ if whole => self.check_whole()?,
            _ => {}
        }
        let dim = if whole { head_dim } else { self.dim(head_dim)? };
        let alpha = if self.kind.alpha && kind == "dynamic" { self.number("alpha")? } else { None };
        let theta = alpha.map_or(theta, |alpha| theta * alpha.powf(dim as f64 / (dim as f64 - 2.0)));
        let mut out = Rotary::of_part(dim, head_dim, theta, context);
        match &*kind {
            "default" => {}
            _ if !dim.is_multiple_of(2) => {
                let error =
                    self.object.error(format!("{dim} elements of each head would turn"), "partial_rotary_factor");
                return Err(error.hint("an even number of them can turn beside a scaling"));
            }
            "linear" => rope::scale_linear(out.turning_freqs(), self.required("factor")?),
            // Frequencies change beyond the context only.
            "dynamic" if alpha.is_some() => {}
            "dynamic" => {
                self.required("factor")?;
            }
            "llama3" => rope::scale_llama3(out.turning_freqs(), self.llama3(context)?),
            "yarn" => out.attention_factor = self.yarn(theta, context, out.turning_freqs())?,
            "longrope" => self.longrope(&mut out, notes)?,
            "proportional" => self.proportional(&mut out.freqs)?,
            other => {
                let (value, field) = self.kind_value();
                let error = value.error(format!("\"{}\" is not supported", printable(other)), &field);
                return Err(error.hint(SUPPORTED));
            }
        }
        if self.kind.grows && self.number("llama_4_scaling_beta")?.is_some() {
            let original = self.original_context()?.unwrap_or(context as f64);
            out.keep_within(original, "llama_4_scaling_beta does not count", notes);
        }
        Ok(out)
    }

    /// The value that names the type, and its field.
    fn kind_value(self) -> (Value<'j>, String) {
        let key = if self.object.entry("rope_type").is_some() { "rope_type" } else { "type" };
        (self.object.entry(key).unwrap_or(self.object), self.field(key))
    }

    /// The type; `default` where none is named.
    fn kind(self) -> Result<String> {
        let by_layer = |(_, value): &(_, Value<'_>)| value.kind() == Type::Object && !value.is_off();
        if let Some((key, value)) = self.object.entries(self.path)?.find(by_layer) {
            let error = value.error("settings by type of layer are not supported", &self.field(&printable(&key)));
            let hint = format!("where all layers share them, write them into {} itself", self.path);
            return Err(error.hint(hint));
        }
        let (value, field) = self.kind_value();
        if value.kind() == Type::Object {
            return Ok("default".into());
        }
        if !value.is_off() {
            let name = value.str(&field)?;
            let meant = self.kind.also_called.iter().find(|(other, _)| *other == name);
            return Ok(meant.map_or(name.into_owned(), |(_, meant)| meant.to_string()));
        }
        let scales = |(key, value): (_, Value<'_>)| key != "rope_theta" && !value.is_off();
        if self.object.entries(self.path)?.any(scales) {
            let error = value.error("no type is named beside settings of a scaling", &field);
            return Err(error.hint("name their type, or remove them where there is no scaling"));
        }
        Ok("default".into())
    }

    /// The part of each head that turns, where one is named that is not all of it.
    fn part(self) -> Result<Option<f64>> {
        let key = "partial_rotary_factor";
        let value = self.object.get(key).or_else(|| self.config.get(key));
        Ok(value.map(|value| value.f64(key)).transpose()?.filter(|part| *part != 1.0))
    }

    /// How many elements of heads of `head_dim` turn.
    fn dim(self, head_dim: usize) -> Result<usize> {
        if let Some((field, default)) = self.kind.dim {
            let value = self.config.entry(field);
            let dim = value.map_or(Ok(default as u64), |value| value.u64(field))?;
            if (1..=head_dim as u64).contains(&dim) {
                return Ok(dim as usize);
            }
            let error =
                value.unwrap_or(self.config).error(format!("{dim} elements of heads of {head_dim} turn"), field);
            return Err(error.hint("name how many elements of each head turn"));
        }
        let Some(default) = self.kind.part else { return Ok(head_dim) };
        let key = "partial_rotary_factor";
        let value = self.object.get(key).or_else(|| self.config.get(self.kind.part_field));
        let part = value.map_or(Ok(default), |value| value.f64(key))?;
        let dim = (part * head_dim as f64) as usize;
        if (0.0..=1.0).contains(&part) && dim > 0 {
            return Ok(dim);
        }
        let error = value.unwrap_or(self.object).error(format!("{part} of heads of {head_dim} turns"), key);
        Err(error.hint("name the part of each head that turns, more than 0 and at most 1"))
    }

    /// Refuses a rotation of a part of each head where the family has none.
    fn check_whole(self) -> Result<()> {
        let Some(part) = self.part()? else { return Ok(()) };
        let error = self.object.error(format!("{part} beside a scaling is not supported"), "partial_rotary_factor");
        Err(error.hint("remove it if whole heads turn"))
    }

    fn llama3(self, context: usize) -> Result<rope::Llama3> {
        let scaling = rope::Llama3 {
            factor: self.required("factor")?,
            low_freq_factor: self.required("low_freq_factor")?,
            high_freq_factor: self.required("high_freq_factor")?,
            original_context: self.original_context()?.unwrap_or(context as f64),
        };
        if scaling.high_freq_factor <= scaling.low_freq_factor {
            let message = "high_freq_factor has to exceed low_freq_factor";
            return Err(self.object.error(message, &self.field("high_freq_factor")));
        }
        Ok(scaling)
    }

    /// Scales `freqs`; returns the attention factor.
    fn yarn(self, theta: f64, context: usize, freqs: &mut [f32]) -> Result<f64> {
        let original_context = self.original_context()?.unwrap_or(context as f64);
        let factor = match self.object.entry("factor") {
            Some(value) if value.is_null() => context as f64 / original_context,
            _ => self.required("factor")?,
        };
        let beta = |key, default| Ok::<_, Error>(self.number(key)?.unwrap_or(default));
        let truncate = self.object.entry("truncate");
        let scaling = rope::Yarn {
            theta,
            factor,
            beta_fast: beta("beta_fast", 32.0)?,
            beta_slow: beta("beta_slow", 1.0)?,
            original_context,
            truncate: truncate.is_none_or(|value| !value.is_off()),
        };
        rope::scale_yarn(freqs, scaling);
        if let Some(given) = positive(self.object, "attention_factor", self.path)? {
            return Ok(given);
        }
        Ok(match (self.number("mscale")?, self.number("mscale_all_dim")?) {
            (Some(mscale), Some(all)) => rope::yarn_attention(factor, mscale) / rope::yarn_attention(factor, all),
            _ => rope::yarn_attention(factor, 1.0),
        })
    }

    /// Scales by the factors for texts within the original context, for which the file is made then: beyond it transformers would
    /// compute all positions anew with other factors, which count where more positions are wanted.
    fn longrope(self, out: &mut Rotary, notes: &mut Vec<String>) -> Result<()> {
        let context = out.context_length as f64;
        let original = self.original_context()?.unwrap_or(context);
        let short = self.factors("short_factor", out.turning / 2)?;
        let long = self.factors("long_factor", out.turning / 2)?;
        let for_long = self.wanted.is_some_and(|wanted| wanted as f64 > original);
        rope::scale_each(out.turning_freqs(), if for_long { &long } else { &short });
        let factor = self.number("factor")?.unwrap_or(context / original);
        out.attention_factor = positive(self.object, "attention_factor", self.path)?
            .unwrap_or_else(|| rope::longrope_attention(factor, original));
        match for_long {
            true => notes.push(format!("{}.long_factor counts, for texts of any length", self.path)),
            false => out.keep_within(original, &format!("{}.short_factor counts", self.path), notes),
        }
        Ok(())
    }

    /// The first part of the pairs turns, by the frequencies of whole heads; the others stand still.
    fn proportional(self, freqs: &mut [f32]) -> Result<()> {
        let part = self.part()?.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&part) {
            return Err(self.object.error(format!("{part} is outside 0 to 1"), &self.field("partial_rotary_factor")));
        }
        let turning = (part * freqs.len() as f64) as usize;
        freqs[turning..].fill(0.0);
        rope::scale_linear(freqs, self.number("factor")?.unwrap_or(1.0));
        Ok(())
    }

    /// Positions of the training before the scaling: the whole configuration goes first.
    fn original_context(self) -> Result<Option<f64>> {
        let key = "original_max_position_embeddings";
        Ok(positive(self.config, key, "")?.or(self.kind.original_context).or(self.number(key)?))
    }

    /// A positive factor for each of `n` pairs.
    fn factors(self, key: &str, n: usize) -> Result<Vec<f64>> {
        let field = self.field(key);
        let value = self.object.get(key).ok_or_else(|| self.missing(key))?;
        let factors = value.items(&field)?.map(|item| Ok((item, item.f64(&field)?))).collect::<Result<Vec<_>>>()?;
        if let Some((item, _)) = factors.iter().find(|(_, factor)| *factor <= 0.0) {
            return Err(item.expected("a positive number", &field));
        }
        if factors.len() != n {
            return Err(value.error(format!("{} factors, heads have {n} pairs", factors.len()), &field));
        }
        Ok(factors.into_iter().map(|(_, factor)| factor).collect())
    }

    /// A positive number, unless it is absent or off.
    fn number(self, key: &str) -> Result<Option<f64>> {
        self.object.set(key).map_or(Ok(None), |_| positive(self.object, key, self.path))
    }

    fn required(self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    fn missing(self, key: &str) -> Error {
        let error = self.object.error(format!("missing: {key}"), &self.field(key));
        error.hint(format!("write it as the authors give it, or remove {} where there is no scaling", self.path))
    }

    fn field(self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }
}

fn positive(object: Value<'_>, key: &str, path: &str) -> Result<Option<f64>> {
    let Some(value) = object.get(key) else { return Ok(None) };
    let field = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let number = value.f64(&field)?;
    if number > 0.0 { Ok(Some(number)) } else { Err(value.expected("a positive number", &field)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::json::Json;

    /// What is read for heads of 8 in a context of 64, and what the user is told.
    fn read_of(config: &str) -> Result<(Rotary, Vec<String>)> {
        read_as(RotaryKind::WHOLE, config)
    }

    fn read_as(kind: RotaryKind, config: &str) -> Result<(Rotary, Vec<String>)> {
        let json = Json::parse(config.as_bytes(), 0).expect("valid");
        let mut notes = Vec::new();
        Ok((read(json.root(), kind, (8, 64), None, &mut notes)?, notes))
    }

    fn rotary(config: &str) -> Rotary {
        read_of(config).expect(config).0
    }

    #[test]
    fn the_old_name_goes_first_and_the_inner_theta() {
        let plain = rotary("{}");
        assert_eq!(plain.freqs, rope::frequencies(8, 10_000.0));
        assert_eq!((plain.context_length, plain.attention_factor), (64, 1.0));
        assert_eq!(rotary(r#"{"rope_theta": 500}"#).freqs, rope::frequencies(8, 500.0));
        let both =
            r#"{"rope_theta": 500, "rope_parameters": {"rope_theta": 100}, "rope_scaling": {"type": "default"}}"#;
        assert_eq!(rotary(both).freqs, rope::frequencies(8, 500.0));
        let new = r#"{"rope_theta": 500, "rope_parameters": {"rope_theta": 100}, "rope_scaling": null}"#;
        assert_eq!(rotary(new).freqs, rope::frequencies(8, 100.0));
        let types = r#"{"rope_scaling": {"rope_type": "default", "type": "linear", "factor": 2}}"#;
        assert_eq!(rotary(types), plain);
    }

    #[test]
    fn yarn_infers_what_is_not_said() {
        let yarn = |more: &str| rotary(&format!(r#"{{"rope_scaling": {{"rope_type": "yarn"{more}}}}}"#));
        let attention = |scale: f64| rope::yarn_attention(scale, 1.0);
        assert_eq!(yarn(r#", "factor": 4"#).attention_factor, attention(4.0));
        let inferred = r#", "factor": null, "original_max_position_embeddings": 16"#;
        assert_eq!(yarn(inferred), yarn(r#", "factor": 4, "original_max_position_embeddings": 16"#));
        assert_eq!(yarn(r#", "factor": 4, "attention_factor": 0.5"#).attention_factor, 0.5);
        let ratio = yarn(r#", "factor": 4, "mscale": 1, "mscale_all_dim": 0.5"#).attention_factor;
        assert_eq!(ratio, attention(4.0) / rope::yarn_attention(4.0, 0.5));
        assert_eq!(yarn(r#", "factor": 4, "mscale": 1, "mscale_all_dim": 0"#).attention_factor, attention(4.0));
    }

    #[test]
    fn longrope_holds_for_the_original_context() {
        let settings = r#""rope_type": "longrope", "short_factor": [1, 2, 4, 8], "long_factor": [9, 9, 9, 9]"#;
        let config = |outside: &str| format!(r#"{{{outside} "rope_parameters": {{{settings}}}}}"#);
        let (rotary, notes) = read_of(&config(r#""original_max_position_embeddings": 16,"#)).expect("valid");
        let want: Vec<f32> =
            rope::frequencies(8, 10_000.0).iter().zip([1.0, 2.0, 4.0, 8.0]).map(|(f, by)| f / by).collect();
        assert_eq!((rotary.freqs, rotary.context_length), (want, 16));
        assert_eq!(rotary.attention_factor, 1.5_f64.sqrt(), "1 + log 4 / log 16");
        assert!(notes[0].contains("made for 16 positions"), "{notes:?}");
        let json = config(r#""original_max_position_embeddings": 16,"#);
        let json = Json::parse(json.as_bytes(), 0).expect("valid");
        let long =
            |wanted| read(json.root(), RotaryKind::WHOLE, (8, 64), Some(wanted), &mut Vec::new()).expect("valid");
        assert_eq!((long(16).context_length, long(17).context_length), (16, 64));
        assert_eq!((long(17).freqs[0], long(17).attention_factor), (1.0 / 9.0, 1.5_f64.sqrt()));
        let (whole, notes) = read_of(&config("")).expect("valid");
        assert_eq!((whole.context_length, whole.attention_factor, notes), (64, 1.0, vec![]));
    }

    #[test]
    fn a_part_of_each_head_turns_by_frequencies_of_its_own() {
        let half = RotaryKind { part: Some(0.5), theta: 100.0, ..RotaryKind::WHOLE };
        let turning = |config: &str| read_as(half, config).expect(config).0;
        let (two, whole) = (turning("{}"), turning(r#"{"partial_rotary_factor": 1}"#));
        assert_eq!((two.turning, &two.freqs[..]), (4, &[1.0, 0.1, 0.0, 0.0][..]));
        assert_eq!((whole.turning, whole.freqs), (8, rope::frequencies(8, 100.0)));
        let scaled = r#"{"rope_parameters": {"type": "linear", "factor": 2, "partial_rotary_factor": 0.25}}"#;
        assert_eq!((turning(scaled).turning, turning(scaled).freqs), (2, vec![0.5, 0.0, 0.0, 0.0]));
        // 3 of 8 elements are the first of two pairs, as transformers counts them.
        let odd = turning(r#"{"partial_rotary_factor": 0.4}"#);
        assert_eq!((odd.turning, odd.freqs[1]), (4, rope::frequencies(3, 100.0)[1]));
    }

    #[test]
    fn families_have_names_and_contexts_of_their_own() {
        let also_called = &[("su", "longrope")];
        let kind = RotaryKind { also_called, original_context: Some(16.0), grows: true, ..RotaryKind::WHOLE };
        let settings = r#""type": "su", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2]"#;
        let (su, notes) = read_as(kind, &format!(r#"{{"rope_scaling": {{{settings}}}}}"#)).expect("valid");
        assert_eq!((su.context_length, notes.len()), (16, 1));
        let grows = r#"{"rope_scaling": {"type": "default", "llama_4_scaling_beta": 0.1}}"#;
        let (grows, notes) = read_as(kind, grows).expect("valid");
        assert_eq!(grows.context_length, 16);
        assert!(notes[0].contains("within which llama_4_scaling_beta does not count"), "{notes:?}");
    }

    #[test]
    fn a_part_of_the_pairs_stands_still() {
        let config = r#"{"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2}}"#;
        let freqs = rope::frequencies(8, 10_000.0);
        assert_eq!(rotary(config).freqs, [freqs[0] / 2.0, freqs[1] / 2.0, 0.0, 0.0]);
        assert_eq!(rotary(config).turning, 8, "the pairs lie as those of whole heads");
        let (plain, notes) =
            read_of(r#"{"partial_rotary_factor": 0.5, "rope_scaling": {"type": "default"}}"#).expect("valid");
        assert_eq!((plain.freqs, notes.len()), (freqs, 1));
    }
}
