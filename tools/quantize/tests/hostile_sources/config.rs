//! config.json and generation_config.json.

use quantize::source::Checkpoint;

use super::{Case, Files, Scratch, case, caught, run, sweep};

pub(crate) const LLAMA: &str = r#"{
 "architectures": ["LlamaForCausalLM"],
 "model_type": "llama",
 "hidden_size": 8,
 "intermediate_size": 16,
 "num_hidden_layers": 1,
 "num_attention_heads": 2,
 "num_key_value_heads": 1,
 "vocab_size": 8,
 "max_position_embeddings": 16,
 "rms_norm_eps": 1e-5,
 "hidden_act": "silu",
 "dtype": "float32",
 "eos_token_id": 2
}"#;

/// A tiny Llama with some files replaced or added.
pub(crate) fn directory(replaced: &[(&'static str, &[u8])]) -> Files {
    let mut files: Files =
        vec![("config.json", LLAMA.into()), ("model.safetensors", super::safetensors::one("model.norm.weight"))];
    for (name, bytes) in replaced {
        files.retain(|(other, _)| other != name);
        files.push((name, bytes.to_vec()));
    }
    files
}

pub(super) fn row(name: &'static str, config: impl AsRef<[u8]>, expected: &'static str, field: &'static str) -> Case {
    case(name, directory(&[("config.json", config.as_ref())]), expected, field)
}

fn with(from: &str, to: &str) -> String {
    assert!(LLAMA.contains(from), "{from}");
    LLAMA.replacen(from, to, 1)
}

fn extra(field: &str) -> String {
    with("\"dtype\": \"float32\"", field)
}

#[test]
fn text() {
    let utf16: Vec<u8> = LLAMA.encode_utf16().flat_map(u16::to_le_bytes).collect();
    run(vec![
        row("C-01 null", "null", "an object", "document"),
        row("C-01 an array", "[]", "an object", "document"),
        row("C-01 spaces", "  ", "ends", "line 1 column 3"),
        row("C-01 UTF-16", [&[0xff, 0xfe][..], &utf16].concat(), "UTF-16", "byte 0x0"),
        row("C-01 a byte order mark", format!("\u{feff}{LLAMA}"), "byte order mark", "byte 0x0"),
        row("C-01 a comment", with("{\n", "{ // x\n"), "a key", "line 1 column 3"),
        row("C-01 a trailing comma", with("_id\": 2", "_id\": 2,"), "a key", "line 15 column 1"),
        row("C-01 20 MiB", vec![b' '; 20 << 20], "limit", "byte"),
        row("C-01 NaN", extra("\"rope_theta\": NaN"), "found 'N'", "line 13"),
        row("C-14 a key twice", extra("\"vocab_size\": 9"), "twice", "key \"vocab_size\""),
        case(
            "C-01 no config.json",
            directory(&[])
                .into_iter()
                .filter(|(n, _)| n != &"config.json")
                .chain([("tokenizer.json", b"{}".to_vec())])
                .collect(),
            "not a Hugging Face",
            "config.json",
        )
        .no_input(),
        case("C-01 an empty one", directory(&[("config.json", b"")]), "empty", "config.json").nowhere(),
    ]);
}

#[test]
fn every_missing_field_is_named() {
    let fields = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"];
    run(fields.iter().map(|field| row("C-02", with(&format!("\"{field}\""), "\"x\""), "missing", field)).collect());
    run(vec![
        row("C-02 all", r#"{"model_type":"llama"}"#, "hidden_size, intermediate_size, num_hidden_layers", "fields"),
        row("C-02 gpt2", r#"{"model_type":"gpt2","n_embd":8}"#, "n_layer, n_head, vocab_size, n_positions", "fields"),
        row("C-02 no type", "{}", "missing", "model_type"),
    ]);
}

#[test]
fn values() {
    let layers = |n: &str| with("\"num_hidden_layers\": 1", &format!("\"num_hidden_layers\": {n}"));
    let eps = |x: &str| with("1e-5", x);
    let rope = |x: &str| extra(&format!("\"rope_parameters\": {x}"));
    let types = |x: &str| with("[\"LlamaForCausalLM\"]", x);
    let quantized = |method: &str| extra(&format!(r#""quantization_config": {{"quant_method": "{method}"}}"#));
    let gpt2 = |x: &str| {
        format!(
            r#"{{"model_type":"gpt2","n_embd":8,"n_layer":1,"n_head":2,"vocab_size":8,"n_positions":8,"layer_norm_epsilon":1e-5,{x}}}"#
        )
    };
    let mistral = |x: &str| {
        extra(x).replace("[\"LlamaForCausalLM\"]", "[\"MistralForCausalLM\"]").replace("\"llama\"", "\"mistral\"")
    };
    run(vec![
        row("C-04 10^6 layers", layers("1000000"), "outside", "n_layers").nowhere(),
        row("C-04 2^40 layers", layers("1099511627776"), "beyond", "num_hidden_layers"),
        row("C-04 no layers", layers("0"), "outside", "n_layers").nowhere(),
        row("C-04 layers as text", layers("\"1\""), "whole number", "num_hidden_layers"),
        row(
            "C-04 a vocabulary of 2^31",
            with("\"vocab_size\": 8", "\"vocab_size\": 2147483648"),
            "outside",
            "vocab_size",
        )
        .nowhere(),
        row("C-04 10^6 heads", with("_heads\": 2", "_heads\": 1000000"), "", "heads").nowhere(),
        row(
            "C-04 a context of 2^31",
            with("embeddings\": 16", "embeddings\": 2147483648"),
            "outside",
            "context_length",
        )
        .nowhere(),
        row("C-05 heads do not divide", with("heads\": 2", "heads\": 3"), "divide", "num_attention_heads"),
        row(
            "C-05 KV heads do not divide",
            with("value_heads\": 1", "value_heads\": 4"),
            "divide",
            "num_key_value_heads",
        ),
        row("C-05 an odd head_dim", extra("\"head_dim\": 3"), "even", "head_dim"),
        row("C-07 epsilon 0", eps("0"), "outside", "norm_eps").nowhere(),
        row("C-07 epsilon -1", eps("-1e-5"), "outside", "norm_eps").nowhere(),
        row("C-07 epsilon 1", eps("1"), "outside", "norm_eps").nowhere(),
        row("C-07 epsilon 1e999", eps("1e999"), "finite", "rms_norm_eps"),
        row("C-08 another activation", with("silu", "mish"), "supported: silu", "hidden_act"),
        row("C-08 two architectures", types("[\"LlamaForCausalLM\", \"x\"]"), "one architecture", "architectures"),
        row("C-08 another architecture", types("[\"BertModel\"]"), "supported: gpt2", "architectures"),
        row("C-08 another type", with("\"llama\"", "\"mixtral\""), "supported: gpt2", "model_type"),
        row("C-08 a line separator", with("\"llama\"", "\"a\u{2028}b\""), "a\\u{2028}b", "model_type"),
        row("C-08 both differ", types("[\"GPT2LMHeadModel\"]"), "architecture", "model_type"),
        row("C-10 a window of 0", mistral("\"sliding_window\": 0"), "0 positions", "sliding_window"),
        row(
            "C-10 layer_types of two",
            mistral("\"sliding_window\": 4, \"layer_types\": [\"full_attention\", \"full_attention\"]"),
            "2 elements",
            "layer_types",
        ),
        row(
            "C-10 an unknown layer",
            mistral("\"sliding_window\": 4, \"layer_types\": [\"x\"]"),
            "unknown type",
            "layer_types",
        ),
        row("C-11 GPTQ", quantized("gptq"), "already quantized (gptq)", "quantization_config"),
        row("C-11 AWQ", quantized("awq"), "already quantized (awq)", "quantization_config"),
        row("C-11 bitsandbytes", quantized("bitsandbytes"), "already quantized (bitsandbytes)", "quantization_config"),
        row(
            "C-13 EOS as text",
            with("\"eos_token_id\": 2", "\"eos_token_id\": \"</s>\""),
            "whole number",
            "eos_token_id",
        ),
        row("C-17 type mrope", rope(r#"{"rope_type":"mrope"}"#), "longrope, proportional", "rope_parameters.rope_type"),
        row("C-17 null", rope(r#"{"rope_type":null,"factor":2.0}"#), "name their type", "rope_parameters.rope_type"),
        row(
            "C-17 by type of layer",
            rope(r#"{"full_attention":{"rope_type":"default","rope_theta":500.0}}"#),
            "write them into rope_parameters itself",
            "rope_parameters.full_attention",
        ),
        row("C-17 a type that is a list", rope(r#"{"rope_type":["yarn"]}"#), "a string", "rope_parameters.rope_type"),
        row("C-17 yarn alone", rope(r#"{"rope_type":"yarn"}"#), "missing: factor", "rope_parameters.factor"),
        row(
            "C-17 yarn with a factor as text",
            rope(r#"{"rope_type":"yarn","factor":"4"}"#),
            "finite",
            "rope_parameters.factor",
        ),
        row(
            "C-17 longrope of three pairs",
            rope(r#"{"rope_type":"longrope","short_factor":[1,2,3],"long_factor":[1,2]}"#),
            "3 factors, heads have 2 pairs",
            "rope_parameters.short_factor",
        ),
        row(
            "C-17 longrope with a factor of 0",
            rope(r#"{"rope_type":"longrope","short_factor":[1,0],"long_factor":[1,2]}"#),
            "positive",
            "rope_parameters.short_factor",
        ),
        row(
            "C-17 longrope from one position on",
            rope(
                r#"{"rope_type":"longrope","short_factor":[1,1],"long_factor":[1,2],"original_max_position_embeddings":1}"#,
            ),
            "these settings make it inf",
            "rope_parameters.attention_factor",
        ),
        row(
            "C-17 more than all of a head",
            rope(r#"{"rope_type":"proportional","partial_rotary_factor":1.5}"#),
            "outside 0 to 1",
            "rope_parameters.partial_rotary_factor",
        ),
        row("rope theta 0", rope(r#"{"rope_theta":0}"#), "positive", "rope_parameters.rope_theta"),
        row(
            "rope without a factor",
            extra(r#""rope_scaling": {"type":"linear"}"#),
            "missing: factor",
            "rope_scaling.factor",
        ),
        row("rope as text", rope("\"linear\""), "an object", "rope_parameters"),
        row(
            "llama3 upside down",
            rope(r#"{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1}"#),
            "exceed",
            "high_freq_factor",
        ),
        row(
            "C-17 half a head",
            extra("\"partial_rotary_factor\": 0.5, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}"),
            "remove it if whole heads turn",
            "partial_rotary_factor",
        ),
        row("gpt2 with an encoder", gpt2("\"add_cross_attention\":true"), "text alone", "add_cross_attention"),
        row("gpt2 with a scale as text", gpt2("\"scale_attn_weights\":\"no\""), "true or false", "scale_attn_weights"),
        row("gpt2 with mish", gpt2("\"activation_function\":\"mish\""), "quick_gelu", "activation_function"),
        case(
            "a bad temperature",
            directory(&[("generation_config.json", br#"{"temperature": "hot"}"#)]),
            "finite",
            "temperature",
        ),
    ]);
}

/// C-10: a window that is none, or wider than the context.
#[test]
fn convolutions() {
    let lfm2 = |field: &str| {
        with("LlamaForCausalLM", "Lfm2ForCausalLM")
            .replace("\"llama\"", "\"lfm2\"")
            .replace("\"rms_norm_eps\": 1e-5", "\"norm_eps\": 1e-5")
            .replace("\"dtype\": \"float32\"", field)
    };
    let row = |name, field: &str, expected, at| row(name, lfm2(field), expected, at);
    run(vec![
        row("C-23 another type", "\"layer_types\": [\"mamba\"]", "supported: full_attention, conv", "layer_types"),
        row("C-23 two types", "\"layer_types\": [\"conv\", \"conv\"]", "2 elements", "layer_types"),
        row("C-23 a type that is a number", "\"layer_types\": [1]", "a string", "layer_types"),
        row("C-23 a kernel of 0", "\"conv_L_cache\": 0", "0 positions, expected 1 to 32", "conv_L_cache"),
        row("C-23 a kernel of 33", "\"conv_L_cache\": 33", "33 positions", "conv_L_cache"),
        row("C-23 multiples of 0", "\"block_multiple_of\": 0", "0, expected 1 or more", "block_multiple_of"),
        row("C-23 a negative factor", "\"block_ffn_dim_multiplier\": -1", "outside", "hidden_dim").nowhere(),
        row("C-23 an endless factor", "\"block_ffn_dim_multiplier\": 1e300", "outside", "hidden_dim").nowhere(),
        row("C-23 places as text", "\"full_attn_idxs\": \"1\"", "an array", "full_attn_idxs"),
        row("C-23 places below 0", "\"full_attn_idxs\": [-1]", "a whole number", "full_attn_idxs"),
    ]);
    let config = |field: &str| read(&lfm2(field)).config;
    let attends = |field| config(field).attentions().count() == 1;
    assert!(attends("\"full_attn_idxs\": null") && attends("\"full_attn_idxs\": [0, 7]"));
    assert!(!attends("\"full_attn_idxs\": []") || attends("\"full_attn_idxs\": [1]"));
    assert!(!attends("\"full_attn_idxs\": []") && !attends("\"full_attn_idxs\": [1]"));
    assert!(!attends("\"layer_types\": [\"conv\"], \"full_attn_idxs\": [0]"), "the types count");
    for (field, hidden_dim) in [
        ("\"block_auto_adjust_ff_dim\": false", 16),
        ("\"block_multiple_of\": 4", 12),
        ("\"block_multiple_of\": 1", 10),
        ("\"block_multiple_of\": 1, \"block_ffn_dim_multiplier\": 1.37", 13),
        ("\"block_multiple_of\": 1, \"block_ff_dim\": 30", 20),
    ] {
        assert_eq!(config(field).hidden_dim(), hidden_dim, "{field}");
    }
}

#[test]
fn a_window_that_bounds_nothing_is_read() {
    for window in ["null", "17"] {
        let config = extra(&format!("\"sliding_window\": {window}"))
            .replace("[\"LlamaForCausalLM\"]", "[\"MistralForCausalLM\"]")
            .replace("\"llama\"", "\"mistral\"");
        let scratch = Scratch::new();
        caught(window, &scratch.write(&directory(&[("config.json", config.as_bytes())]))).expect("valid");
    }
}

/// What is read of a tiny Llama with this config.json.
fn read(config: &str) -> Checkpoint {
    let scratch = Scratch::new();
    caught(config, &scratch.write(&directory(&[("config.json", config.as_bytes())]))).expect("valid")
}

/// C-13: an end beyond the vocabulary never comes.
#[test]
fn an_end_beyond_the_vocabulary_is_left_out_and_told() {
    let source = read(&with("\"eos_token_id\": 2", "\"eos_token_id\": [2, 8, -1]"));
    assert_eq!(source.generation.eos, [2]);
    assert!(source.notes.iter().any(|note| note.contains("token 8 of a vocabulary of 8")), "{:?}", source.notes);
    let many = vec!["9"; 2000].join(",");
    let files = directory(&[("generation_config.json", format!("{{\"eos_token_id\": [{many}]}}").as_bytes())]);
    let error = caught("2000 ends", &Scratch::new().write(&files)).expect_err("too many");
    assert!(error.to_string().contains("more than 1024 ids"), "{error}");
}

/// C-02: what does not shape a tensor may be absent.
#[test]
fn what_is_absent_is_as_in_transformers_and_told() {
    let source =
        read(&with("\"max_position_embeddings\": 16", "\"x\": 1").replacen("\"rms_norm_eps\": 1e-5", "\"y\": 1", 1));
    assert_eq!((source.config.context_length, source.config.norm_eps), (2048, 1e-6));
    for note in ["max_position_embeddings: 2048, as in transformers", "rms_norm_eps: 0.000001, as in transformers"] {
        assert!(source.notes.iter().any(|told| told.contains(note)), "{note}: {:?}", source.notes);
    }
}

/// C-19: what programs write where there is nothing to set.
#[test]
fn values_that_mean_off_are_off() {
    let plain = read(LLAMA);
    let keys = ["rope_scaling", "rope_parameters", "quantization_config", "sliding_window", "layer_types", "mlp_bias"];
    for off in ["null", "false", "0", "-1", "\"\"", "\"none\"", "\"None\"", "[]", "{}"] {
        for key in keys.into_iter().chain(["attention_bias", "use_sliding_window", "tie_word_embeddings"]) {
            let source = read(&extra(&format!("\"{key}\": {off}")));
            assert_eq!(source.config, plain.config, "{key}: {off}");
        }
        assert_eq!(read(&with("[\"LlamaForCausalLM\"]", off)).config, plain.config, "architectures: {off}");
        let config = extra(&format!("\"sliding_window\": {off}")).replacen("\"llama\"", "\"mistral\"", 1);
        let config = config.replacen("Llama", "Mistral", 1);
        if off != "0" {
            assert_eq!(read(&config).config, plain.config, "a window of {off}");
        }
        assert_eq!(
            read(&extra(&format!("\"rope_scaling\": {{\"rope_type\": {off}, \"factor\": null}}"))).config,
            plain.config
        );
        if !off.contains(['0', '[', '{']) {
            let generation = format!("{{\"top_k\": {off}, \"eos_token_id\": {off}}}");
            let scratch = Scratch::new();
            let files = directory(&[("generation_config.json", generation.as_bytes())]);
            let source = caught(off, &scratch.write(&files)).expect("valid");
            assert_eq!((source.generation.top_k, source.generation.eos), (None, vec![2]), "{off}");
        }
    }
}

/// C-13: nobody has to name an end.
#[test]
fn a_model_without_an_end_is_read() {
    let scratch = Scratch::new();
    let config = with(",\n \"eos_token_id\": 2", "");
    let source = caught("no EOS", &scratch.write(&directory(&[("config.json", config.as_bytes())]))).expect("valid");
    assert!(source.generation.eos.is_empty());
}

#[test]
fn eos_comes_from_the_most_special_file() {
    let scratch = Scratch::new();
    let path = scratch.write(&directory(&[("generation_config.json", br#"{"eos_token_id": [1, 3, 1], "top_k": 40}"#)]));
    let source = caught("both", &path).expect("valid");
    assert_eq!((source.generation.eos, source.generation.top_k), (vec![1, 3], Some(40)));
    std::fs::remove_file(scratch.0.join("generation_config.json")).expect("remove");
    assert_eq!(caught("config", &path).expect("valid").generation.eos, [2]);
}

/// C-16
#[test]
fn another_dtype_than_announced_is_noted() {
    let scratch = Scratch::new();
    let config = LLAMA.replace("float32", "float16");
    let source = caught("C-16", &scratch.write(&directory(&[("config.json", config.as_bytes())]))).expect("valid");
    assert!(source.notes.iter().any(|n| n.contains("float16") && n.contains("F32")), "{:?}", source.notes);
}

#[test]
fn no_byte_of_a_configuration_panics() {
    sweep("config.json", &directory(&[]), "config.json", LLAMA.len());
}
