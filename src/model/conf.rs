//! The configuration section of a file, CONF, in both of its forms (FORMAT.md, "Configuration").

use super::block::Layer;
use super::config::Config;
use super::fields::{FieldWriter, Fields, place_of};
use super::spec::NormKind;
use super::uniform::{Family, Uniform};
use crate::error::{Error, Result};
use crate::format::cursor::{Cursor, Encoder};
use alloc::vec::Vec;

/// What stands in the place of a family where the rest is a list of fields.
const FIELDS: u32 = 2;
/// Layers, and rotary tables, at most.
const MAX_RECORDS: usize = 1024;

/// Tags of the fields of a network.
mod network {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const DIM: u16 = 2;
    pub(super) const VOCAB_SIZE: u16 = 3;
    pub(super) const CONTEXT_LENGTH: u16 = 4;
    pub(super) const NORM: u16 = 5;
    pub(super) const NORM_EPS: u16 = 6;
    pub(super) const TIED: u16 = 7;
    pub(super) const LEARNED_POSITIONS: u16 = 8;
    pub(super) const ROTARY_TABLES: u16 = 9;
    pub(super) const LAYERS: u16 = 10;
    pub(super) const EMBEDDING_NORM: u16 = 11;
    pub(super) const UNEMBEDDING_BIAS: u16 = 12;
    pub(super) const LOGIT_CAP: u16 = 13;
    pub(super) const LAYER_INPUTS: u16 = 14;
}

/// Tags of the fields of a rotary table.
mod rotary {
    pub(super) const FREQS: u16 = 1;
}

/// What norms are, in the order of the values of their field.
const NORM_KINDS: [NormKind; 2] = [NormKind::Rms, NormKind::Layer];

impl Config {
    /// The bytes of the CONF section: in the first form, which every version reads, where it can say all.
    pub fn encode(&self) -> Vec<u8> {
        if let Some(uniform) = Uniform::of(self) {
            return uniform.encode();
        }
        let mut fields = FieldWriter::default();
        fields.name(network::FAMILY, &self.family);
        fields.number(network::DIM, self.dim);
        fields.number(network::VOCAB_SIZE, self.vocab_size);
        fields.number(network::CONTEXT_LENGTH, self.context_length);
        fields.number(network::NORM, place_of(&NORM_KINDS, self.norm));
        fields.float(network::NORM_EPS, self.norm_eps);
        fields.flag(network::TIED, self.tied);
        fields.flag(network::LEARNED_POSITIONS, self.learned_positions);
        fields.records(
            network::ROTARY_TABLES,
            self.rotary_tables.iter().map(|freqs| {
                let mut table = FieldWriter::default();
                table.floats(rotary::FREQS, freqs);
                table
            }),
        );
        fields.records(network::LAYERS, self.layers.iter().map(Layer::encode));
        fields.flag(network::EMBEDDING_NORM, self.embedding_norm);
        fields.flag(network::UNEMBEDDING_BIAS, self.unembedding_bias);
        fields.optional_float(network::LOGIT_CAP, self.logit_cap);
        fields.optional(network::LAYER_INPUTS, self.layer_inputs);
        let mut out = Encoder::default();
        out.u32(FIELDS);
        out.bytes(&fields.into_bytes());
        out.into_bytes()
    }

    /// Reads and checks a CONF section of either form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Cursor::new(bytes, "configuration");
        let code = input.u32("family")?;
        if let Some(family) = Family::ALL.into_iter().find(|family| *family as u32 == code) {
            return Uniform::decode(family, input).map(|uniform| uniform.config());
        }
        if code != FIELDS {
            return Err(Error::data(format!("unknown family {code}")).field("family").at(0));
        }
        let at = input.offset();
        let config = decode_fields(Fields::read(input, "configuration")?)?;
        config.check().map(|()| config).map_err(|error| error.at(at))
    }
}

fn decode_fields(mut fields: Fields<'_>) -> Result<Config> {
    let tables = fields.records(network::ROTARY_TABLES, "rotary table", MAX_RECORDS)?;
    let rotary_tables: Vec<_> = tables.into_iter().map(decode_rotary_table).collect::<Result<_>>()?;
    let layers = fields.records(network::LAYERS, "layer", MAX_RECORDS)?.into_iter().map(|fields| {
        let at = fields.offset();
        let decoded = Layer::decode(fields).and_then(|layer| layer.check(&rotary_tables).map(|()| layer));
        decoded.map_err(|error| error.at(at))
    });
    let layers = layers.collect::<Result<_>>()?;
    let config = Config {
        family: fields.name(network::FAMILY, "family")?.into(),
        dim: fields.number(network::DIM, "dim")?,
        vocab_size: fields.number(network::VOCAB_SIZE, "vocab_size")?,
        context_length: fields.number(network::CONTEXT_LENGTH, "context_length")?,
        norm: fields.value(network::NORM, "norm", |value| NORM_KINDS.get(value).copied())?,
        norm_eps: fields.float(network::NORM_EPS, "norm_eps")?,
        tied: fields.flag(network::TIED, "tied")?,
        learned_positions: fields.flag(network::LEARNED_POSITIONS, "learned_positions")?,
        embedding_norm: fields.flag(network::EMBEDDING_NORM, "embedding_norm")?,
        unembedding_bias: fields.flag(network::UNEMBEDDING_BIAS, "unembedding_bias")?,
        logit_cap: fields.optional_float(network::LOGIT_CAP, "logit_cap")?,
        layer_inputs: fields.optional(network::LAYER_INPUTS, "layer_inputs")?,
        rotary_tables,
        layers,
    };
    fields.finish()?;
    Ok(config)
}

fn decode_rotary_table(mut fields: Fields<'_>) -> Result<Vec<f32>> {
    let freqs = fields.floats(rotary::FREQS, "rope_freqs")?;
    fields.finish().map(|()| freqs)
}
