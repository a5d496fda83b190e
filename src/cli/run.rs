//! `whit run`: a model does what it was made for.

use super::args::Chat;
use super::input::ModelFile;
use super::output::Outcome;
use super::{chat, generate};

pub(super) fn run(args: &Chat) -> Outcome<()> {
    let model = ModelFile::open(args.model.model.as_deref())?.model()?;
    match args.as_generate().filter(|_| model.chat_template().is_none()) {
        Some(args) => generate::run(&args),
        None => chat::run(args),
    }
}
