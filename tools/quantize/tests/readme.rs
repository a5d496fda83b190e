//! What the README shows of other people's models is what they write, converted as it says.

mod support;

use std::process::Command;

use support::shared;
use whit::Engine;
use whit::chat::Conversation;
use whit::format::Bytes;
use whit::generate::{WriteOptions, recommended_sampling};
use whit::os::Mapping;
use whit::sampler::SamplerOptions;

/// The commands of the README that use `model`, in words, each with what stands below it.
fn shown(model: &str) -> Vec<(Vec<String>, String)> {
    let mut found = Vec::new();
    for block in include_str!("../../../README.md").split("\n```\n").filter(|block| block.starts_with("$ target/")) {
        for command in block.split("$ target/release/whit ").skip(1) {
            let (line, output) = command.split_once('\n').expect("an output");
            let parts = line.split('"').enumerate();
            let words =
                parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
            let words: Vec<String> = words.map(str::to_owned).collect();
            if words[1] == model {
                found.push((words, output.trim_end().to_owned()));
            }
        }
    }
    found
}

/// What the program prints for `words`, such as `chat FILE TEXT --seed 4 -q`, by the library.
fn printed(engine: &Engine, words: &[String]) -> String {
    let value = |name: &str| words.iter().position(|word| word == name).map(|at| words[at + 1].as_str());
    let mut sampling = SamplerOptions { seed: 0, ..recommended_sampling(engine.model().generation()) };
    sampling.seed = value("--seed").map_or(0, |seed| seed.parse().expect("a seed"));
    sampling.temperature = value("--temp").map_or(sampling.temperature, |t| t.parse().expect("a temperature"));
    let n_tokens = value("-n").map(|n| n.parse().expect("a number"));
    let mut options = WriteOptions { n_tokens, sampling: Some(sampling), ..WriteOptions::default() };
    let (command, text) = (words[0].as_str(), words[2].as_str());
    let (begun, tokens) = match command {
        "generate" => (text.to_owned(), engine.tokens(text).expect("tokens")),
        "chat" => {
            let mut conversation = Conversation::new(engine.model()).expect("a chat template");
            options.end_tokens = conversation.end_tokens().to_vec();
            conversation.say(text.to_owned());
            (String::new(), conversation.tokens().expect("tokens"))
        }
        _ => panic!("{command} is not known here"),
    };
    let mut text = engine.write_tokens(&tokens, options).expect("a text");
    let mut said = begun;
    while let Some(piece) = text.next_piece().expect("a piece") {
        said.push_str(piece.text);
    }
    said.trim_end().to_owned()
}

#[test]
fn other_models_write_what_the_readme_shows() {
    for (name, file, n) in [
        ("smollm2.whit", "models/SmolLM2-135M-Instruct.Q4_1.gguf", 3),
        ("stories260K.whit", "models/stories260k/stories260K.bin", 1),
    ] {
        let commands = shown(name);
        assert_eq!(commands.len(), n, "commands with {name}");
        let Some(path) = shared(file) else { continue };
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_quantize"));
        assert!(command.arg(path).arg("-o").arg(&output).arg("-q").status().expect("quantize starts").success());
        let engine = Engine::of_bytes(Bytes::new(Mapping::open(&output).expect("the file"))).expect("a model");
        for (words, output) in commands {
            assert_eq!(printed(&engine, &words), output, "{words:?}");
        }
    }
}
