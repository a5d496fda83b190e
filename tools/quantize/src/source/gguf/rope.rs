//! What a GGUF file says of rotary positions: keys under `rope`.

use whit::error::{Error, Result};

use super::divisors::{ALWAYS, Divisors, LONG, SHORT};
use super::keys::Keys;
use super::meta::shown;
use crate::source::rope::{self, Rotary};

impl Keys<'_, '_> {
    /// Rotary positions of heads of `head_dim`, in a context of so many positions, in each of `n_layers`.
    pub(crate) fn rotary(&mut self, (head_dim, context): (usize, usize), n_layers: usize) -> Result<Rotary> {
        let rotary = self.read_rotary(head_dim, context)?;
        self.factors.turn(&rotary, &vec![true; n_layers]);
        Ok(rotary)
    }

    /// Rotary positions of heads of `head_dim` in a `context`, scaled as the file says.
    fn read_rotary(&mut self, head_dim: usize, context: usize) -> Result<Rotary> {
        let turning = self.dimension("rope.dimension_count", 0)?.unwrap_or(head_dim);
        let even = |n: usize| n.is_multiple_of(2) && n >= 2;
        if turning > head_dim || !even(turning) || !even(head_dim) || head_dim > 4096 {
            let message =
                format!("{turning} rotated dimensions of heads of {head_dim}: expected an even number of them");
            return Err(self.error("rope.dimension_count", message));
        }
        let theta = self.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let mut out = Rotary::of_part(turning, head_dim, theta, context);
        let original = self.dimension("rope.scaling.original_context_length", 0)?.filter(|n| *n > 0);
        let original = original.unwrap_or(context) as f64;
        let kind = self.metadata.str(&self.key("rope.scaling.type"))?;
        match kind {
            None | Some("linear") => {
                if let Some(factor) = self.positive("rope.scaling.factor")?.or(self.positive("rope.scale_linear")?) {
                    rope::scale_linear(out.turning_freqs(), factor);
                }
            }
            Some("yarn") => self.yarn(&mut out, theta, original)?,
            Some("none" | "longrope") => {}
            Some(other) => {
                let error = self.error("rope.scaling.type", format!("scaling \"{}\" is not supported", shown(other)));
                return Err(error.hint("supported: none, linear, yarn, longrope, and the factors of Llama 3"));
            }
        }
        self.divide(&mut out, original)?;
        if let Some(factor) = self.positive("rope.scaling.attn_factor")? {
            out.attention_factor *= factor;
        }
        if self.positive("attention.temperature_scale")?.is_some() {
            out.keep_within(original, "attention.temperature_scale does not count", &mut self.notes);
        }
        Ok(out)
    }

    /// Scales by YaRN. The factor of attention is that of llama.cpp, where `yarn_log_multiplier` is `mscale_all_dim`.
    fn yarn(&self, out: &mut Rotary, theta: f64, original_context: f64) -> Result<()> {
        for key in ["rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"] {
            if let Some(value) = self.float(key)?.filter(|value| *value != 1.0) {
                let error = self.error(key, format!("{value} is not supported"));
                return Err(error.hint("convert the checkpoint that this file was made of"));
            }
        }
        let key = "rope.scaling.factor";
        let factor = self.positive_required(key)?;
        let scaling = rope::Yarn {
            theta,
            factor,
            beta_fast: self.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            original_context,
            truncate: true,
        };
        rope::scale_yarn(out.turning_freqs(), scaling);
        let all = self.float("rope.scaling.yarn_log_multiplier")?.filter(|all| *all != 0.0);
        let divisor = all.map_or(1.0, |all| rope::yarn_attention(factor, all));
        out.attention_factor = rope::yarn_attention(factor, 1.0) / divisor;
        if out.attention_factor.is_finite() && out.attention_factor > 0.0 {
            return Ok(());
        }
        let message = format!("the factor of attention would be {}", out.attention_factor);
        Err(self.error("rope.scaling.yarn_log_multiplier", message))
    }

    /// Divides frequencies by those of the tensors that count within the `original` context.
    fn divide(&mut self, out: &mut Rotary, original: f64) -> Result<()> {
        let Divisors { always, short, long } = std::mem::take(&mut self.divisors);
        if short.is_some() != long.is_some() {
            let message = format!("{SHORT} and {LONG} belong together");
            return Err(Error::data(message).field("tensors").hint("take the whole file as it was published"));
        }
        for (name, divisors) in [(ALWAYS, &always), (SHORT, &short), (LONG, &long)] {
            let Some(divisors) = divisors else { continue };
            let freqs = out.turning_freqs();
            if divisors.len() != freqs.len() {
                let message = format!("{} elements, heads need {}", divisors.len(), freqs.len());
                return Err(Error::data(message).field(format!("tensor \"{name}\"")));
            }
            if name != LONG {
                freqs.iter_mut().zip(divisors).for_each(|(f, divisor)| *f /= divisor);
            }
        }
        if short.is_some() {
            out.keep_within(original, &format!("{SHORT} counts"), &mut self.notes);
        }
        Ok(())
    }
}
