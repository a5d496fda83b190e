//! In the place of the engine, in a build without the feature `constraints`: whoever asks for a constraint is told so.

use super::Rule;
use crate::error::{Error, Kind, Result};
use crate::generate::Constraint;
use crate::model::Model;
use crate::token::TokenId;
use crate::tokenizer::Tokenizer;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

/// What there is none of.
enum Never {}

/// Would compile rules for the texts of one model.
pub struct Grammars(Never);

/// A rule, of which there is none.
pub struct Grammar(Never);

impl Grammars {
    /// Fails.
    pub fn new(_model: &Arc<Model>) -> Result<Self> {
        let message = "this whit was built without constraints: schemas, grammars and functions that are called";
        Err(Error::new(Kind::Unavailable, message).hint("build it with the feature constraints"))
    }

    /// No bytes.
    pub fn bytes(_tokenizer: &Tokenizer, _n_texts: u64) -> u64 {
        0
    }

    /// Of no rule.
    pub fn compile(&self, _rule: &Rule) -> Result<Grammar> {
        match self.0 {}
    }

    /// Of no rule.
    pub fn compile_marked(&self, _lark: &str, _tokens: &[TokenId]) -> Result<Grammar> {
        match self.0 {}
    }

    /// Of no schema.
    pub fn checked_schema(&self, _text: &str) -> Result<String> {
        match self.0 {}
    }
}

impl Grammar {
    /// Of no rule.
    pub fn again(&self) -> Grammar {
        match self.0 {}
    }

    /// Of no rule.
    pub fn begin(&self) -> Result<Box<dyn Constraint>> {
        match self.0 {}
    }

    /// Of no rule.
    pub fn begin_behind(&self, _beginning: &[u8]) -> Result<Option<Box<dyn Constraint>>> {
        match self.0 {}
    }

    /// Of no rule.
    pub fn accepts(&self, _text: &str) -> Result<bool> {
        match self.0 {}
    }
}
