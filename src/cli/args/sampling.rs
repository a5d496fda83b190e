//! Arguments of the choice of tokens.

use super::values::{count, logit_bias};
use clap::Args;

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
    /// Seed of the draw, 0 to 2^64-1; without it a random one, which is printed
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
}
