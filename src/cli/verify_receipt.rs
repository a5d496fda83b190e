//! `whit verify-receipt`: the text of a receipt, written again and compared.

use super::args::VerifyReceipt;
use super::input::{self, ModelFile};
use super::json::Object;
use super::output::{End, Outcome, Output};
use super::plan::Wanted;
use super::setup::{BATCH, default_threads, held_by, up_to};
use super::views::text;
use super::{progress, streaming};
use serde_json::Value;
use std::sync::Arc;
use whit::TokenId;
use whit::chat::receipt::{Difference, Receipt};
use whit::compute::Compute;
use whit::error::{Error, Result};
use whit::kernels;
use whit::model::{Model, Session};
use whit::os::interrupt;

pub(super) fn run(args: &VerifyReceipt) -> Outcome<()> {
    let name = args.file.display().to_string();
    let receipt = read(args).map_err(|error| error.in_file(&name))?;
    let source = ModelFile::open(args.model.model.as_deref())?;
    let model = source.model()?;
    let in_receipt = |error: Error| error.in_file(&name);
    receipt.check(&model).map_err(in_receipt)?;
    let of_receipt = |error: Error| Error::data(error.message()).field("settings.context_length").in_file(&name);
    held_by(&model, receipt.terms.context_length).map_err(of_receipt)?;
    let compute = Arc::new(compute(args)?);
    let options = receipt.session_options(BATCH);
    let wanted = Wanted {
        model: &model,
        file_bytes: model.file().file_bytes(),
        options,
        n_sessions: 1,
        n_texts: 1,
        n_constrained: u64::from(receipt.terms.rule.is_some()),
        n_threads: compute.threads.len(),
        flag: "a receipt of a context of",
        max_memory: None,
        guessing: None,
    };
    let plan = wanted.check()?;
    let mut session = Session::new(&model, &compute, options)?;
    streaming::pace(&mut session, &source, &model, &plan, None, args.progress.quiet)?;
    interrupt::watch();
    let bar = progress::steps(receipt.output.len() as u64, args.progress.quiet);
    let found = receipt.replay(&mut session, BATCH, &mut |n| {
        bar.set_position(n as u64);
        !interrupt::requested()
    });
    bar.finish_and_clear();
    let found = source.if_unchanged(found.map_err(|error| End::Failed(in_receipt(error))))?;
    let mut out = Output::new();
    out.foreign(&match args.print.json {
        true => as_json(&name, &receipt, found) + "\n",
        false => format!("{name}: {}\n", in_words(&model, &receipt, found)),
    })?;
    out.flush()?;
    found.map_or(Ok(()), |_| Err(End::Differs))
}

/// The receipt in the file, alone or as a field of an answer.
fn read(args: &VerifyReceipt) -> Result<Receipt> {
    let text = input::text(&args.file)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| Error::data(format!("it is no JSON: {error}")))?;
    let inner =
        ["/receipt", "/whit/receipt", "/choices/0/whit/receipt"].iter().filter_map(|place| value.pointer(place));
    Receipt::of_json(inner.into_iter().find(|value| value.is_object()).unwrap_or(&value))
}

fn compute(args: &VerifyReceipt) -> Result<Compute> {
    let kernels = args.kernels.as_deref().map_or_else(|| Ok(kernels::detect()), kernels::by_name)?;
    match args.threads {
        Some(n) => Compute::new(kernels, n.into()),
        None => up_to(kernels, default_threads()),
    }
}

fn in_words(model: &Model, receipt: &Receipt, found: Option<Difference>) -> String {
    let token = |id: Option<TokenId>| match (id, model.tokenizer()) {
        (Some(id), Some(tokenizer)) => format!("{id} {:?}", text(tokenizer, id)),
        (Some(id), None) => id.to_string(),
        (None, _) => "the end".into(),
    };
    let n = receipt.output.len();
    let all = format!("{n} token{}", if n == 1 { "" } else { "s" });
    match found {
        None => format!("it holds: {all}, their end and the bits of all logits"),
        Some(Difference::Token { place, expected, got }) => {
            format!("token {place} differs: expected {}, got {}", token(expected), token(got))
        }
        Some(Difference::Reason { expected, got }) => {
            format!("{all} and the same ones, their end differs: expected {}, got {}", expected.name(), got.name())
        }
        Some(Difference::Logits) => format!("{all} and the same ones, the bits of their logits are not"),
    }
}

fn as_json(name: &str, receipt: &Receipt, found: Option<Difference>) -> String {
    let object = Object::default().text("file", name).raw("holds", found.is_none()).raw("tokens", receipt.output.len());
    let id = |id: Option<TokenId>| id.map_or("null".into(), |id| id.to_string());
    let differs = match found {
        None => return object.raw("differs", "null").line(),
        Some(Difference::Token { place, expected, got }) => Object::default()
            .text("what", "token")
            .raw("token", place)
            .raw("expected", id(expected))
            .raw("got", id(got)),
        Some(Difference::Reason { expected, got }) => {
            Object::default().text("what", "end").text("expected", expected.name()).text("got", got.name())
        }
        Some(Difference::Logits) => Object::default().text("what", "logits"),
    };
    object.raw("differs", differs.line()).line()
}
