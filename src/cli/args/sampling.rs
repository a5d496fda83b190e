//! Arguments of the choice of tokens.

use super::values::{count, logit_bias, tokens};
use clap::Args;
use whit::sampler::Stage;

/// How tokens are chosen. What is not given comes from the model file, else it is as written here.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// Temperature; 0 always takes the most probable token [default: the model's, else 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temp: Option<f32>,
    /// Choose among the K most probable; 0 is off [default: the model's, else 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    #[arg(value_parser = count(0))]
    pub(crate) top_k: Option<u32>,
    /// Choose among the most probable that reach P together; 1 is off [default: the model's, else 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Choose among those at least P times as probable as the best; 0 is off [default: the model's, else 0.05]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Choose among the typical ones that reach P together; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) typical: f32,
    /// Divide the logits of recent tokens; 1 is off [default: the model's, else 1]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub(crate) repeat_penalty: Option<f32>,
    /// How many tokens the penalties look back; 0 switches them off
    #[arg(long, value_name = "N", default_value_t = 64, allow_negative_numbers = true)]
    #[arg(value_parser = count(0))]
    pub(crate) repeat_last_n: u32,
    /// Subtract from the logits of recent tokens
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// Subtract from the logits of recent tokens, for each time they occur
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// Add V to the logit of a token, -inf bans it; may be given several times
    #[arg(long, value_name = "ID=V", value_parser = logit_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Penalize tokens that go on with a repeated sequence, by this where it is the shortest; 0 is off (DRY)
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) dry_multiplier: f32,
    /// Multiply that penalty by B for each further token of the sequence
    #[arg(long, value_name = "B", default_value_t = 1.75, allow_negative_numbers = true)]
    pub(crate) dry_base: f32,
    /// Let sequences shorter than this be repeated
    #[arg(long, value_name = "N", default_value_t = 2, allow_negative_numbers = true)]
    #[arg(value_parser = count(1))]
    pub(crate) dry_allowed_length: u32,
    /// How many tokens DRY looks back; -1: the whole context, 0: none
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    #[arg(value_parser = tokens())]
    pub(crate) dry_penalty_last_n: i64,
    /// Text over which no sequence goes on, in the place of line end, :, " and *; may be given several times, `none` is none
    #[arg(long, value_name = "TEXT")]
    pub(crate) dry_sequence_breaker: Vec<String>,
    /// Choose among those whose logit is at most S standard deviations below the largest; 0 is off
    #[arg(long, value_name = "S", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) top_n_sigma: f32,
    /// Let the temperature follow the uncertainty, up to this far to both sides; 0 is off
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) dynatemp_range: f32,
    /// The power of the uncertainty by which it does
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) dynatemp_exp: f32,
    /// How often the most probable tokens are excluded, but the last of them; 0 is off (XTC)
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) xtc_probability: f32,
    /// How probable those are, at least; above 0.5 is off
    #[arg(long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true)]
    pub(crate) xtc_threshold: f32,
    /// Keep the surprise of the text near a target; 2 is the version, 0 is off. Other filters than temperature are left out
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_parser = mirostat)]
    pub(crate) mirostat: u8,
    /// The target, in bits
    #[arg(long, value_name = "BITS", default_value_t = 5.0, allow_negative_numbers = true)]
    pub(crate) mirostat_ent: f32,
    /// How fast mirostat learns
    #[arg(long, value_name = "X", default_value_t = 0.1, allow_negative_numbers = true)]
    pub(crate) mirostat_lr: f32,
    /// Prefer tokens so that their mean probability is P (adaptive-p) [default: off]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) adaptive_target: Option<f32>,
    /// What counts of a token in that mean when the next is chosen
    #[arg(long, value_name = "D", default_value_t = 0.9, allow_negative_numbers = true)]
    pub(crate) adaptive_decay: f32,
    /// The filters in their order, with ; between them; those left out are off [default: penalties;dry;top-n-sigma;temperature;top-k;
    /// typical;top-p;min-p;xtc]
    #[arg(long, value_name = "NAMES", value_parser = order)]
    pub(crate) samplers: Option<Order>,
    /// Text that is not to be written: where it would be complete, the token with which it began is drawn anew without that one; may
    /// be given several times
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) banned_string: Vec<String>,
    /// Seed of the draw, 0 to 2^64-1; without it a random one, which is printed
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
}

/// The order of the filters.
#[derive(Debug, Clone)]
pub(crate) struct Order(pub(crate) Vec<Stage>);

/// Of the two versions, that of the paper's second half is the one that is used.
fn mirostat(text: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "2" => Ok(2),
        _ => Err("expected 0 or 2".into()),
    }
}

/// Names of filters with ; or , between them.
fn order(text: &str) -> Result<Order, String> {
    let names = text.split([';', ',']).map(str::trim).filter(|name| !name.is_empty());
    let stage = |name: &str| {
        Stage::named(name).ok_or_else(|| format!("{name:?} is none of {}", Stage::ORDER.map(Stage::name).join(", ")))
    };
    names.map(stage).collect::<Result<_, _>>().map(Order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_taken_in_the_words_of_llama_cpp_too() {
        let theirs = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
        let names: Vec<&str> = order(theirs).expect("known names").0.into_iter().map(Stage::name).collect();
        assert_eq!(names.join(" "), "penalties dry top-n-sigma top-k typical top-p min-p xtc temperature");
        assert!(order("").is_ok_and(|order| order.0.is_empty()));
        assert!(order("top-k;best").is_err_and(|error| error.starts_with("\"best\" is none of penalties, dry,")));
        assert!(mirostat("1").is_err());
    }
}
