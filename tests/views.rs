//! The views as their users call them: pictures that fit the screen, JSON that holds, pages, refusals.
#![cfg(feature = "cli")]

mod program;
mod support;

use console::measure_text_width;
use program::whit;
use serde_json::Value;
use std::process::Output;
use support::{Folder, TinyModel};
use whit::model::{BranchNorms, Config, DeltaNet, Mamba2, Mixer, Mlp, ShortConv};

const TEXT: &str = "Once upon a time there was a cat and a cat";

fn run(args: &[&str]) -> Output {
    whit().args(args).output().expect("the program runs")
}

fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(args: &[&str]) -> Vec<Value> {
    let text = stdout(&[args, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {line}"))).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn refused(args: &[&str], part: &str) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{args:?}: {said}");
    assert!(said.lines().count() == 1 && said.contains(part), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
}

/// A text file for `whit score`.
fn text_file(folder: &Folder) -> String {
    let path = folder.write("text.txt", "Once upon a time, there was a cat.\nThe cat was happy.\n");
    path.to_str().expect("UTF-8").into()
}

#[test]
fn pictures_fit_the_screen_and_colours_change_no_character() {
    let folder = Folder::new("views-width");
    let file = text_file(&folder);
    let chain = "--temp 0.9 --top-k 40 --top-p 0.9 --min-p 0.01 --typical 0.9 --repeat-penalty 1.2".split(' ');
    let chain: Vec<&str> =
        ["generate", TEXT, "--show", "-n", "2", "--seed", "4", "-q", "--no-echo"].into_iter().chain(chain).collect();
    let long = "abc".repeat(40);
    let views: [&[&str]; 16] = [
        &chain,
        &["next", "昔々あるところにおじいさんとおばあさんがいましたとさ昔々あるところに昔々あるところにおじいさん"],
        &["explain", &long, "--seed", "1"],
        &["words", &long],
        &["tokens", TEXT],
        &["next", TEXT],
        &["tally", "-q"],
        &["tally", "--shape", "gpt-3"],
        &["words", "cat"],
        &["words", "--direction", "cat:cats", "--along", "one", "two"],
        &["attend", TEXT],
        &["attend", TEXT, "-l", "1", "-H", "2"],
        &["lens", TEXT],
        &["score", &file, "-q"],
        &["explain", TEXT, "--seed", "4"],
        &["generate", TEXT, "--show", "-n", "2", "--seed", "4", "-q", "--no-echo"],
    ];
    let coloured = [false, true];
    for (width, colour) in (40..=200).flat_map(|width| coloured.map(|colour| (width, colour))) {
        // All widths of a phone, and some of a desk.
        if width > 80 && width % 40 != 0 {
            continue;
        }
        for view in views.iter().filter(|_| width % 20 == 0 || colour == (width % 2 == 0)) {
            let (columns, when) = (width.to_string(), if colour { "always" } else { "never" });
            let text = stdout(&[*view, &["--width", &columns, "--color", when]].concat());
            assert!(text.contains('\u{1b}') == colour && text.lines().count() > 3, "{view:?}: {text}");
            fits(&text, width, view);
        }
    }
}

#[test]
fn a_narrow_screen_says_what_it_leaves_out() {
    let at = |args: &[&str], width: &str| stdout(&[args, &["--width", width]].concat());
    let show = ["generate", TEXT, "--show", "-n", "1", "--temp", "0.9", "-q"];
    let unfolded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let left_out: [(&[&str], &str); 3] = [
        (&["lens", TEXT, "-q"], "tokens; a wider screen shows more"),
        (&["next", TEXT], "temperatures; a wider screen shows all"),
        (&show, "a wider screen also shows temp."),
    ];
    for (args, said) in left_out {
        for (width, is_said) in [("40", true), ("200", false)] {
            let text = at(args, width);
            assert_eq!(unfolded(&text).contains(said), is_said, "{args:?} at {width}: {text}");
        }
    }
    for width in ["50", "80"] {
        let tally = at(&["tally", "-q"], width);
        assert_eq!(tally.contains("matrices: rows"), tally.contains("matrices  parameters"), "{tally}");
        assert!(tally.contains("bars: parameters") == tally.contains('█'), "{tally}");
    }
    let echoed = at(&["generate", &TEXT.repeat(3), "--show", "-n", "1", "-q"], "50");
    fits(&echoed, 50, &["generate", "--show"]);
}

fn fits(text: &str, width: usize, what: &[&str]) {
    for line in text.lines() {
        assert!(measure_text_width(line) <= width, "{what:?} at {width}: {line}");
    }
}

#[test]
fn reports_and_help_fit_the_screen() {
    let reports: [&[&str]; 12] = [
        &["inspect"],
        &["plan"],
        &["doctor", "--limit-seconds", "0", "-q"],
        &["trace", "--limit-seconds", "0", "-q", "--depth", "3", "--prompt-tokens", "4"],
        &["bench", "--limit-seconds", "0", "-q", "--depth", "3", "--prefill", "4", "--decode", "4", "--texts", "2"],
        &["tokens", TEXT],
        &[],
        &["--help"],
        &["generate", "--help"],
        &["chat", "-h"],
        &["help", "explain"],
        &["bench", "--help"],
    ];
    for report in reports {
        for width in (40..80).step_by(3).chain([80, 100, 160]) {
            let output = whit().args(report).env("COLUMNS", width.to_string()).output().expect("the program runs");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(output.status.success() && text.lines().count() > 3, "{report:?}: {text}");
            fits(&text, width, report);
        }
    }
}

#[test]
fn gpt_3_is_tallied_as_in_the_film() {
    let text = stdout(&["tally", "--shape", "gpt-3"]);
    assert!(text.contains("175,181,291,520 parameters in 27,938 matrices"), "{text}");
    for (name, count) in [
        ("embedding", "617,558,016"),
        ("key", "14,495,514,624"),
        ("query", "14,495,514,624"),
        ("value", "14,495,514,624"),
        ("output", "14,495,514,624"),
        ("up-projection", "57,982,058,496"),
        ("down-projection", "57,982,058,496"),
        ("unembedding", "617,558,016"),
    ] {
        assert!(text.lines().any(|line| line.starts_with(name) && line.contains(count)), "{name}: {text}");
    }
}

#[test]
fn a_models_tally_is_what_it_stores() {
    let lines = json(&["tally", "-q"]);
    let (rows, summary) = lines.split_at(lines.len() - 1);
    let sum = |field: &str, of: &dyn Fn(&&Value) -> bool| -> f64 {
        rows.iter().filter(of).map(|row| number(&row[field])).sum()
    };
    let stored = number(&summary[0]["summary"]["stored_parameters"]);
    assert_eq!(sum("parameters", &|row| row["shared"] == false), stored);
    let inspected = &json(&["inspect"])[0];
    let elements = |tensor: &Value| list(&tensor["shape"]).iter().map(number).product::<f64>();
    assert_eq!(list(&inspected["tensors"]).iter().map(elements).sum::<f64>(), stored);
    assert_eq!(list(&inspected["tensors"]).iter().map(|t| number(&t["bytes"])).sum::<f64>(), sum("bytes", &|_| true));
    // With times, the shares of all ops add to 1.
    let timed = json(&["tally"]);
    let rows: f64 = timed[..timed.len() - 1].iter().filter_map(|row| row["time_share"].as_f64()).sum();
    let without = number(&timed[timed.len() - 1]["summary"]["time_share_without_parameters"]);
    assert!((rows + without - 1.0).abs() < 1e-9, "{rows} {without}");
}

#[test]
fn a_text_is_its_tokens() {
    let lines = json(&["tokens", "Hello, naïve 🦙"]);
    let (tokens, summary) = lines.split_at(lines.len() - 1);
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| list(&token["bytes"])).map(|byte| number(byte) as u8).collect();
    assert_eq!(String::from_utf8(bytes).expect("UTF-8"), "Hello, naïve 🦙");
    assert_eq!(number(&summary[0]["summary"]["tokens"]), tokens.len() as f64);
    assert_eq!(number(&summary[0]["summary"]["characters"]), 14.0);
}

#[test]
fn distributions_add_to_one_at_every_temperature() {
    let lines = json(&["next", TEXT, "--top", "7"]);
    let film = list(&lines[1]["film"]);
    assert_eq!(film.len(), 11);
    for frame in film.iter().chain([&lines[0]]) {
        let top = list(&frame["top"]);
        let sum: f64 = top.iter().map(|token| number(&token["probability"])).sum::<f64>() + number(&frame["tail"]);
        assert!((sum - 1.0).abs() < 1e-9, "{frame}");
    }
    let entropies: Vec<f64> = film.iter().map(|frame| number(&frame["entropy_bits"])).collect();
    assert!(entropies.windows(2).all(|pair| pair[0] < pair[1]) && entropies[0] == 0.0, "{entropies:?}");
}

#[test]
fn shown_choices_are_those_of_the_plain_run() {
    let plain = ["generate", TEXT, "-n", "12", "--seed", "9", "-q", "--top-k", "30", "--repeat-penalty", "1.1"];
    let shown = json(&[&plain[..], &["--show", "--top", "5"]].concat());
    let choices = &shown[1..shown.len() - 1];
    let ids = |lines: &[Value]| lines.iter().filter_map(|line| line["token"].as_u64()).collect::<Vec<_>>();
    assert_eq!(ids(choices), ids(&json(&plain)), "looking changes nothing");
    for choice in choices {
        let stages = list(&choice["stages"]);
        let names: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
        assert_eq!(names, ["logits", "penalties", "temperature", "top-k", "top-p", "min-p"]);
        let (u, start, end) = (number(&choice["u"]), number(&choice["part_start"]), number(&choice["part_end"]));
        assert!(start - 1e-6 <= u && u <= end + 1e-6, "{choice}");
        let last = &stages[stages.len() - 1];
        assert!((number(&last["chosen_probability"]) - (end - start)).abs() < 1e-9);
        assert!(number(&last["candidates"]) <= 30.0);
    }
    let ending = json(&["generate", "She was happy. The end.", "--show", "--temp", "0", "-q"]);
    let last = &ending[ending.len() - 2];
    assert_eq!(
        (last["token"].as_u64(), last["candidates_left"].as_u64()),
        (Some(0), Some(1)),
        "the end is chosen, too"
    );
    let hot = stdout(&["generate", TEXT, "-n", "1", "--show", "--temp", "3", "-q"]);
    assert!(hot.contains("above 2"), "{hot}");
}

#[test]
fn words_of_several_pieces_are_told() {
    let near = &json(&["words", "cat - dog", "--top", "3"])[0];
    assert_eq!((list(&near["terms"]).len(), list(&near["near"]).len()), (2, 3));
    let cosines: Vec<f64> = list(&near["near"]).iter().map(|near| number(&near["cosine"])).collect();
    assert!(cosines.windows(2).all(|pair| pair[0] >= pair[1]), "{cosines:?}");
    let text = stdout(&["words", "antidisestablishment", "--of", "unembedding"]);
    assert!(text.contains("antidisestablishment is the mean of"), "{text}");
}

#[test]
fn attention_and_lens_and_score_hold_together() {
    let folder = Folder::new("views-json");
    let attend = json(&["attend", TEXT]);
    let (layers, heads) = (number(&attend[0]["layers"]), number(&attend[0]["heads"]));
    assert_eq!(attend.len() as f64, 1.0 + layers * heads);
    for head in &attend[1..] {
        for row in list(&head["rows"]) {
            let sum: f64 = list(row).iter().map(number).sum();
            assert!((sum - 1.0).abs() < 1e-3, "{sum}");
        }
        assert!(number(&head["same"]) >= 0.0 && number(&head["induction"]) >= 0.0);
    }
    let lens = json(&["lens", TEXT, "-q"]);
    let next = &json(&["next", TEXT, "--top", "5"])[0];
    let last = &lens[lens.len() - 1];
    let depths = list(&last["depths"]);
    assert_eq!(depths[depths.len() - 1]["top"], next["top"]);
    assert_eq!(list(&last["writes"]).len() as f64, layers);

    let file = text_file(&folder);
    let scored = json(&["score", &file, "-q"]);
    let bits: Vec<f64> = scored.iter().filter_map(|line| line["bits"].as_f64()).collect();
    let mean = bits.iter().sum::<f64>() / bits.len() as f64;
    let summary = &scored[scored.len() - 1]["summary"];
    assert!((number(&summary["perplexity"]) - mean.exp2()).abs() < 1e-9, "{summary}");
    let tiny = folder.path("tiny.whit");
    TinyModel::llama().write(&tiny);
    let tiny = tiny.to_str().expect("UTF-8");
    let same = json(&["score", &file, "-q", "-m", tiny, "--against", tiny]);
    assert_eq!(number(&same[same.len() - 1]["summary"]["mean_kl_bits"]), 0.0);
}

#[test]
fn the_tour_has_its_steps_and_its_numbers() {
    let steps = json(&["explain", TEXT, "--seed", "4"]);
    let names: Vec<&str> = steps.iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(names, ["tokens", "vectors", "attention", "mlp", "layers", "logits", "softmax", "draw", "again"]);
    let drawn = &steps[7]["data"];
    let generated = json(&["generate", TEXT, "--seed", "4", "-n", "1", "-q"]);
    assert_eq!(drawn["id"], generated[1]["token"], "the tour draws what generate draws");
    assert!(steps[8]["data"]["text"].as_str().is_some_and(|text| text.starts_with(TEXT)));
}

#[test]
fn pages_hold_their_data_and_ask_for_nothing() {
    let folder = Folder::new("views-pages");
    let file = text_file(&folder);
    let views: [&[&str]; 9] = [
        &["tokens", "</script><b>"],
        &["next", TEXT],
        &["tally", "-q"],
        &["words", "cat"],
        &["attend", TEXT],
        &["lens", TEXT, "-q"],
        &["score", &file, "-q"],
        &["explain", TEXT],
        &["generate", TEXT, "--show", "-n", "2", "-q"],
    ];
    for view in views {
        let page = folder.path("page.html");
        let output = run(&[view, &["--html", page.to_str().expect("UTF-8")]].concat());
        assert!(output.status.success() && !output.stdout.is_empty(), "{view:?}");
        let page = std::fs::read_to_string(page).expect("a page");
        let data = page.split_once("id=\"data\">").and_then(|(_, rest)| rest.split_once("</script>")).expect("data");
        assert!(!list(&serde_json::from_str(data.0).expect("JSON")).is_empty());
        assert!(page.len() - data.0.len() < 300_000, "{view:?}: {} bytes without its data", page.len() - data.0.len());
        let code = page.replace(data.0, "").replace("http://www.w3.org/", "");
        for outside in ["http://", "https://", "src=", "@import", "fetch("] {
            assert!(!code.contains(outside), "{view:?} has {outside}");
        }
    }
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let folder = Folder::new("views-refused");
    let long = "the ".repeat(150);
    refused(&["attend", &long], "can be drawn");
    refused(&["attend", TEXT, "-l", "6", "-H", "0"], "layer: 6 is not among 0 to 5");
    refused(&["attend", TEXT, "-l", "0", "-H", "5"], "head: 5 is not among 0 to 4");
    refused(&["attend", TEXT, "-l", "0"], "--head");
    refused(&["next", TEXT, "--temp", "-1"], "temp: -1");
    refused(&["next"], "no text is given");
    refused(&["lens", &long.repeat(9)], "positions that this model was made for");
    refused(&["tally", "--shape", "gpt-9"], "known are gpt2");
    refused(&["words", "king", "man"], "no sign before");
    refused(&["words"], "required");
    refused(&["words", "--direction", "cat", "--along", "one"], "as in cat:cats");
    refused(&["generate", TEXT, "--html", "page.html"], "--show");
    refused(&["generate", TEXT, "--top", "5"], "--show");
    refused(&["generate", TEXT, "-i"], "terminal");
    refused(&["generate", TEXT, "--show", "-i", "--top", "5"], "terminal");
    refused(&["tokens", TEXT, "--width", "20"], "40..=400");
    let other = folder.write("notes.txt", "mine");
    let output = run(&["tokens", TEXT, "--html", other.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(&other).expect("the file"), "mine");
    // L-20: nobody else's page, and nothing that would be waited for.
    for (name, content) in [
        ("page.html", "<!doctype html>\n<html lang=\"en\">\n<title>mine</title>"),
        ("short.html", "<!doctype html>"),
        ("empty.html", ""),
    ] {
        let page = folder.write(name, content);
        let output = run(&["tokens", TEXT, "--html", page.to_str().expect("UTF-8")]);
        assert_eq!(output.status.code(), Some(73), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("there is a file that holds something else"));
        assert_eq!(std::fs::read_to_string(&page).expect("the file"), content);
    }
    #[cfg(unix)]
    {
        let pipe = folder.path("pipe.html");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        for (path, what) in
            [(pipe.as_path(), "a pipe"), ("/dev/null".as_ref(), "a device"), (&folder.path(""), "a direct")]
        {
            let output = run(&["tokens", TEXT, "--html", path.to_str().expect("UTF-8")]);
            assert_eq!(output.status.code(), Some(73), "{what}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stderr).contains(what), "{what}");
        }
        assert_eq!(std::fs::read_dir(folder.path("")).expect("listed").count(), 5, "nothing is left beside them");
    }
    let tiny = folder.path("tiny.whit");
    TinyModel::llama().write(&tiny);
    let output = run(&["score", &text_file(&folder), "--against", tiny.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
    let page = folder.path("missing/page.html");
    let output = run(&["tokens", TEXT, "--html", page.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(73), "{}", String::from_utf8_lossy(&output.stderr));
    let config = folder.write("config.json", "{\"n_embd\": 0}");
    let output = run(&["tally", "--shape", config.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The second of two layers has half the heads, twice as wide, and a narrower MLP.
fn differing(config: &mut Config) {
    config.family = "differing".into();
    let attention = config.layers[1].attention_mut().expect("attention");
    (attention.n_heads, attention.n_kv_heads, attention.head_dim, attention.rotary) = (2, 1, 20, None);
    config.layers[1].mlp.hidden_dim = 30;
}

#[test]
fn a_plan_of_layers_that_differ_is_told_as_it_is() {
    let folder = Folder::new("views-differing");
    let path = folder.path("m.whit");
    TinyModel { change: differing, ..TinyModel::llama() }.write(&path);
    let model = ["-m", path.to_str().expect("UTF-8")];
    let lines = json(&[&["tally", "-q"], &model[..]].concat());
    let row = |name: &str| lines.iter().find(|row| row["category"] == name).expect("a row");
    for (name, matrices) in [("query", 4.0 + 2.0), ("key", 2.0 + 1.0), ("up-projection", 2.0)] {
        assert!(row(name)["rows"].is_null() && number(&row(name)["matrices"]) == matrices, "{}", row(name));
    }
    assert!(row("query")["heads"].is_null() && row("output")["rows"] == 40, "{} {}", row("query"), row("output"));
    let text = stdout(&[&["tally", "-q"], &model[..]].concat());
    assert!(text.contains("6 of different sizes") && text.contains("40 x 40 x 1 x 2"), "{text}");
    let tour = stdout(&[&["explain", "hello there"], &model[..]].concat()).replace('\n', " ");
    for part in ["2 layers 2 to 4 heads let", "what 1 to 2 let it offer", "Of the 30 to 72 inner values"] {
        assert!(tour.contains(part), "{part}: {tour}");
    }
}

fn convolutions(config: &mut Config) {
    config.family = "convolutions".into();
    for layer in [0, 2] {
        config.layers[layer].mixer = Mixer::ShortConv(ShortConv { channels: 40, width: 3, bias: false });
    }
}

fn no_attention(config: &mut Config) {
    convolutions(config);
    config.layers[1].mixer = config.layers[0].mixer.clone();
    config.rotary_tables.clear();
}

#[test]
fn layers_without_attention_are_told_as_what_they_are() {
    let folder = Folder::new("views-convolutions");
    let paths = [("some.whit", convolutions as fn(&mut Config)), ("none.whit", no_attention)].map(|(name, change)| {
        let mut tiny = TinyModel { change, ..TinyModel::llama() };
        tiny.config.n_layers = 3;
        tiny.write(&folder.path(name));
        folder.path(name).to_str().expect("UTF-8").to_owned()
    });
    let [some, none] = paths.each_ref().map(|path| ["-m", path]);
    fn on<'a>(args: &[&'a str], model: [&'a str; 2]) -> Vec<&'a str> {
        [args, &model[..]].concat()
    }
    let told = |args: &[&str], model| stdout(&on(args, model)).split_whitespace().collect::<Vec<_>>().join(" ");

    let others = "layers 0 and 2 have short convolutions in the place of attention";
    for args in [&["attend", "hello there"][..], &["lens", "hello there"], &["explain", "hello there"]] {
        let text = told(args, some);
        assert!(text.contains(others), "{args:?}: {text}");
    }
    assert!(told(&["attend", "hello there"], some).contains("4 heads in 1 layers"));
    let lines = json(&on(&["attend", "hello there"], some));
    assert!(lines.len() == 1 + 4 && lines[1]["layer"] == 1 && lines[0]["without"] == others, "{:?}", lines[0]);
    refused(&on(&["attend", "hello there", "--layer", "2", "--head", "0"], some), "layer 2 has no attention");
    refused(&on(&["attend", "hello there", "--layer", "3", "--head", "0"], some), "3 is not among 0 to 2");
    refused(&on(&["attend", "hello there"], none), "no layer of this model has attention");
    assert!(told(&["explain", "hello there"], none).contains("This model lets no token look at others by attention"));
    assert!(told(&["lens", "hello there"], none).contains("layers 0, 1 and 2 have short convolutions"));
    json(&on(&["explain", "hello there"], none));

    for model in [some, none] {
        let lines = json(&on(&["tally", "-q"], model));
        let row = lines.iter().find(|row| row["category"] == "convolution").expect("a row");
        let layers = if model == some { 2.0 } else { 3.0 };
        assert_eq!((number(&row["layers"]), number(&row["matrices"])), (layers, 3.0 * layers));
        assert_eq!(number(&row["parameters"]), layers * (3 * 40 * 40 + 40 * 3 + 40 * 40) as f64);
        let inspected = json(&on(&["inspect"], model));
        let config = &inspected[0]["config"];
        assert!(config["mixers"][0] == "short convolution" && config["conv_width"] == 3, "{config}");
        assert!(told(&["plan", "--ctx", "64"], model).contains("keys, values and other states of 64"));
        let trace = json(&on(&["trace", "-q", "--depth", "3", "--prompt-tokens", "5", "--limit-seconds", "0"], model));
        let ops = list(&trace[0]["token"]["ops"]);
        let op = ops.iter().find(|op| op["op"] == "convolution" && op["layer"] == 2).expect("an op");
        // The kernel in panels of 16 rows, and what is remembered of three positions.
        assert_eq!((number(&op["bytes"]), number(&op["macs"])), ((48 * 3 + 3 * 40) as f64 * 4.0, (40 * 3 + 80) as f64));
    }
}

fn delta_nets(config: &mut Config) {
    config.family = "delta nets".into();
    for layer in [0, 2] {
        let delta = DeltaNet { n_key_heads: 2, n_heads: 4, key_dim: 8, value_dim: 10, width: 4 };
        config.layers[layer].mixer = Mixer::DeltaNet(delta);
    }
}

#[test]
fn delta_nets_are_told_as_what_they_are() {
    let folder = Folder::new("views-delta-nets");
    let mut tiny = TinyModel { change: delta_nets, ..TinyModel::llama() };
    tiny.config.n_layers = 3;
    tiny.write(&folder.path("m.whit"));
    let path = folder.path("m.whit");
    let model = ["-m", path.to_str().expect("UTF-8")];
    for args in [&["attend", "hello there"][..], &["lens", "hello there"], &["explain", "hello there"]] {
        let text = stdout(&[args, &model[..]].concat()).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("layers 0 and 2 have delta nets in the place of attention"), "{args:?}: {text}");
    }
    let lines = json(&[&["tally", "-q"], &model[..]].concat());
    let row = lines.iter().find(|row| row["category"] == "delta net").expect("a row");
    let (channels, values) = (2 * 2 * 8 + 4 * 10, 4 * 10);
    let parameters = 2 * ((channels + values + 4 + 4) * 40 + 4 + 40 * values);
    assert_eq!((number(&row["layers"]), number(&row["parameters"])), (2.0, parameters as f64));
    let config = &json(&[&["inspect"], &model[..]].concat())[0]["config"];
    assert!(config["mixers"][2] == "delta net" && config["key_dim"] == 8 && config["n_value_heads"] == 4, "{config}");
    let args = ["trace", "-q", "--depth", "3", "--prompt-tokens", "5", "--limit-seconds", "0"];
    let trace = json(&[&args[..], &model[..]].concat());
    let ops = list(&trace[0]["token"]["ops"]);
    let op = ops.iter().find(|op| op["op"] == "delta rule" && op["layer"] == 2).expect("an op");
    // Rates and norm, then states with their last outputs, and three inputs of the convolution.
    let bytes = 4 + 10 + 4 * 9 * 10 + 3 * channels;
    assert_eq!((number(&op["bytes"]), number(&op["macs"])), (4.0 * f64::from(bytes), 3.0 * 4.0 * 80.0));
}

fn state_spaces(config: &mut Config) {
    config.family = "state spaces".into();
    let (n_heads, head_dim, state_dim, n_groups, width) = (4, 10, 8, 2, 4);
    let (conv_bias, step_limits, norm) = (false, None, None);
    let mamba = Mamba2 { n_heads, head_dim, state_dim, n_groups, width, conv_bias, step_limits, norm };
    config.layers[0].mixer = Mixer::Mamba2(mamba.clone());
    (config.layers[0].mlp, config.layers[0].mlp_norms) = (Mlp::NONE, BranchNorms::NONE);
    config.layers[2].beside = Some(Mixer::Mamba2(mamba));
}

#[test]
fn state_spaces_are_told_as_what_they_are() {
    let folder = Folder::new("views-state-spaces");
    let mut tiny = TinyModel { change: state_spaces, ..TinyModel::llama() };
    tiny.config.n_layers = 3;
    tiny.write(&folder.path("m.whit"));
    let path = folder.path("m.whit");
    let model = ["-m", path.to_str().expect("UTF-8")];
    for args in [&["attend", "hello there"][..], &["lens", "hello there"], &["explain", "hello there"]] {
        let text = stdout(&[args, &model[..]].concat()).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("layer 0 has a state space in the place of attention"), "{args:?}: {text}");
    }
    let lines = json(&[&["tally", "-q"], &model[..]].concat());
    let row = lines.iter().find(|row| row["category"] == "state space").expect("a row");
    let (channels, inner) = (40 + 2 * 2 * 8, 40);
    let parameters = 2 * ((channels + inner + 4) * 40 + 4 + 4 + 40 * inner);
    assert_eq!((number(&row["layers"]), number(&row["parameters"])), (2.0, parameters as f64));
    let config = &json(&[&["inspect"], &model[..]].concat())[0]["config"];
    let mixers = ["state space", "attention", "attention, state space"];
    assert!((0..3).all(|layer| config["mixers"][layer] == mixers[layer]), "{config}");
    assert!(config["n_scan_heads"] == 4 && config["state_dim"] == 8 && config["hidden_dim"][0] == 0, "{config}");
    let args = ["trace", "-q", "--depth", "3", "--prompt-tokens", "5", "--limit-seconds", "0"];
    let trace = json(&[&args[..], &model[..]].concat());
    let ops = list(&trace[0]["token"]["ops"]);
    let op = |name: &str, layer: u32| ops.iter().find(|op| op["op"] == name && op["layer"] == layer);
    let scan = op("scan", 2).expect("an op");
    // Rates and skips, then states with their last outputs, and three inputs of the convolution.
    let bytes = 4 + 4 + 4 * 9 * 10 + 3 * channels;
    assert_eq!((number(&scan["bytes"]), number(&scan["macs"])), (4.0 * f64::from(bytes), 2.0 * 4.0 * 80.0));
    assert!(op("attention", 2).is_some() && op("attention", 0).is_none() && op("down", 0).is_none(), "{trace:?}");
}
