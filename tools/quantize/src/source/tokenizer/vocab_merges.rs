//! vocab.json and merges.txt: byte-level BPE as GPT-2 and Qwen2 publish it, without a tokenizer.json. What the two leave out
//! is what transformers' class of the tokenizer does: it is made a tokenizer.json of, which is then read.

use serde_json::{Map, Value, json};
use whit::error::{Error, Result, printable};
use whit::tokenizer::PreTokenizer;

use super::json::{self, Read};
use crate::source::hf::files::with_object;
use crate::source::json::Json;
use crate::source::source_file::SourceFile;

/// A token that other files of the directory add.
pub(in crate::source) struct Added {
    /// Its id, where the file gives one; else it is a token of vocab.json.
    pub(in crate::source) id: Option<u32>,
    /// Its name and its rules, as in a tokenizer.json.
    pub(in crate::source) token: Map<String, Value>,
}

/// Reads the two files, as the tokenizer class `class` does.
pub(in crate::source) fn read(vocab: &SourceFile, merges: &SourceFile, class: &str, added: &[Added]) -> Result<Read> {
    let (normalizer, pre_tokenizer) = match class.trim_end_matches("Fast") {
        "GPT2Tokenizer" | "CodeGenTokenizer" => {
            (Value::Null, json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}))
        }
        "Qwen2Tokenizer" => {
            let split = json!({"type": "Split", "pattern": {"Regex": PreTokenizer::QWEN2_PATTERN}, "behavior": "Isolated", "invert": false});
            let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
            (json!({"type": "NFC"}), json!({"type": "Sequence", "pretokenizers": [split, bytes]}))
        }
        other => {
            let message = format!("vocab.json of a {} is not supported", printable(other));
            let error = Error::data(message).field("tokenizer_class");
            let hint = "with transformers, AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY) writes a \
                        tokenizer.json";
            return Err(vocab.error(error.hint(hint)));
        }
    };
    let ids = with_object(vocab, |object| {
        object.entries("vocab.json")?.map(|(name, id)| Ok((name.into_owned(), json!(id.u32("vocab.json")?)))).collect()
    })?;
    let lines = lines(merges)?;
    let known = |token: &Added| {
        token.id.or_else(|| Map::get(&ids, token.token["content"].as_str()?)?.as_u64()?.try_into().ok())
    };
    let mut listed = Vec::new();
    for token in added {
        let Some(id) = known(token) else { continue };
        if listed.iter().all(|other: &Map<String, Value>| other["content"] != token.token["content"]) {
            let mut token = token.token.clone();
            token.insert("id".into(), json!(id));
            listed.push(token);
        }
    }
    let document = json!({
        "added_tokens": listed, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": ids, "merges": lines},
    });
    let text = document.to_string();
    let read = Json::parse(text.as_bytes(), 0).and_then(|json| json.object().and_then(json::read));
    // A place in the document that was made would mislead.
    read.map_err(|error| {
        let field = error.named_field().unwrap_or_default().to_string();
        vocab.error(Error::data(format!("with its merges.txt: {}", error.message())).field(field))
    })
}

/// The merges, a line each behind the version.
fn lines(file: &SourceFile) -> Result<Vec<String>> {
    let text = std::str::from_utf8(&file.map);
    let text = text.map_err(|e| file.error(Error::data("not UTF-8").at(e.valid_up_to() as u64)))?;
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || (number == 1 && line.starts_with("#version")) {
            continue;
        }
        let pair =
            line.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
        if pair.is_none() {
            let error = Error::data(format!("line {number} is no pair of pieces: {}", printable(line)));
            return Err(file.error(error));
        }
        out.push(line.to_string());
    }
    Ok(out)
}
