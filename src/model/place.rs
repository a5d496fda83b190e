//! Finds the weights of a block in a file, by what they are for.

use super::spec::{Part, TensorSpec};
use crate::error::{Error, Result};
use crate::format::File;
use crate::ops::{Linear, Norm};
use crate::quant::Matrix;

/// The tensors of one block, or of what is outside of the blocks.
pub(super) struct Place<'t, 'a> {
    pub(super) file: &'t File<'a>,
    /// Rows of the table, those of this place among them.
    pub(super) rows: &'t [TensorSpec],
    pub(super) layer: Option<usize>,
    /// The number of the expert; `None` of what belongs to none.
    pub(super) expert: Option<usize>,
    /// Of every norm.
    pub(super) norm_eps: f32,
}

/// The norms of a branch, where it has them.
pub(super) struct Norms<'a> {
    /// Of what it reads.
    pub(super) input: Option<Norm<'a>>,
    /// Of what it adds.
    pub(super) output: Option<Norm<'a>>,
}

impl<'t, 'a> Place<'t, 'a> {
    fn find(&self, part: Part, is_bias: bool) -> Option<&TensorSpec> {
        let of = (self.layer, self.expert, part, is_bias);
        let number = |spec: &TensorSpec| spec.expert.map(|expert| expert.number);
        self.rows.iter().find(|spec| (spec.layer, number(spec), spec.part, spec.is_bias) == of)
    }

    /// The tensors of one of the experts of this block.
    pub(super) fn of_expert(&self, number: usize) -> Place<'t, 'a> {
        let of =
            |spec: &TensorSpec| spec.layer == self.layer && spec.expert.is_some_and(|expert| expert.number == number);
        let start = self.rows.iter().position(of).unwrap_or(self.rows.len());
        let rows = &self.rows[start..];
        Place { rows, expert: Some(number), ..*self }
    }

    /// The table has a tensor of `part` here.
    pub(super) fn has(&self, part: Part) -> bool {
        self.find(part, false).is_some()
    }

    fn require(&self, part: Part) -> Result<&TensorSpec> {
        self.find(part, false).ok_or_else(|| Error::data(format!("no {part:?} in the table")).field("tensors"))
    }

    pub(super) fn matrix(&self, part: Part) -> Result<Matrix<'a>> {
        self.file.matrix(&self.require(part)?.name)
    }

    pub(super) fn vector(&self, part: Part) -> Result<&'a [f32]> {
        self.file.vector(&self.require(part)?.name)
    }

    fn bias(&self, part: Part) -> Result<Option<&'a [f32]>> {
        self.find(part, true).map(|spec| self.file.vector(&spec.name)).transpose()
    }

    pub(super) fn linear(&self, part: Part) -> Result<Linear<'a>> {
        Ok(Linear { weight: self.matrix(part)?, bias: self.bias(part)? })
    }

    pub(super) fn norm(&self, part: Part) -> Result<Norm<'a>> {
        Ok(Norm { weight: self.vector(part)?, bias: self.bias(part)?, eps: self.norm_eps })
    }

    /// The norms of a branch whose input norm is `input` and whose output norm is `output`, as far as the table has them.
    pub(super) fn norms(&self, input: Part, output: Part) -> Result<Norms<'a>> {
        let norm = |part| self.find(part, false).map(|_| self.norm(part)).transpose();
        Ok(Norms { input: norm(input)?, output: norm(output)? })
    }
}
