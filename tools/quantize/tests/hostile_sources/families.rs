//! What families have in config.json that Llama has not: what of it is not supported, and what makes no sense.

use super::config::{LLAMA, directory, row};
use super::safetensors::file;
use super::{case, run};

/// A tiny model of a family with more fields.
fn of(family: &str, more: &str) -> String {
    let classless = LLAMA.replace("\"architectures\": [\"LlamaForCausalLM\"],", more);
    classless.replace("\"llama\"", &format!("\"{family}\""))
}

/// C-20
#[test]
fn multipliers_are_positive() {
    run(vec![
        row("C-20 logits by 0", of("granite", "\"logits_scaling\": 0,"), "a positive number", "logits_scaling"),
        row("C-20 a branch by -1", of("granite", "\"residual_multiplier\": -1,"), "positive", "residual_multiplier"),
        row(
            "C-20 scores by 1e300",
            of("granite", "\"attention_multiplier\": 1e300,"),
            "positive",
            "attention_multiplier",
        ),
        row("C-20 vectors by 1e-300", of("granite", "\"embedding_multiplier\": 1e-300,"), "positive", "embedding_"),
        row(
            "C-20 vectors by text",
            of("granite", "\"embedding_multiplier\": \"12\","),
            "finite",
            "embedding_multiplier",
        ),
        row("C-20 a depth of 0", of("minicpm", "\"scale_depth\": 0,"), "a positive number", "scale_depth"),
        row("C-20 a base of -256", of("minicpm", "\"dim_model_base\": -256,"), "positive", "dim_model_base"),
    ]);
}

/// C-21
#[test]
fn relatives_that_need_more_are_refused() {
    let granite4 = |more: &str| of("granitemoehybrid", &format!("\"shared_intermediate_size\": 16, {more}"));
    let bigcode = r#"{"model_type":"gpt_bigcode","n_embd":8,"n_layer":1,"n_head":2,"vocab_size":8,"n_positions":8,"multi_query":false}"#;
    let opt = |more: &str| {
        let sizes = r#""hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,"vocab_size":8,"ffn_dim":16"#;
        format!(r#"{{"model_type":"opt",{sizes},"max_position_embeddings":8,{more}}}"#)
    };
    let bloom = |more: &str| {
        format!(r#"{{"model_type":"bloom","hidden_size":8,"n_layer":1,"n_head":2,"vocab_size":8,{more}}}"#)
    };
    let neo = |types: &str| {
        let sizes = r#""hidden_size":8,"num_layers":1,"num_heads":2,"vocab_size":8,"max_position_embeddings":8"#;
        format!(r#"{{"model_type":"gpt_neo",{sizes},"attention_types":{types}}}"#)
    };
    run(vec![
        row(
            "C-21 unnamed layers, which are Mamba",
            granite4(""),
            "128 heads of 0 are not the width 16",
            "mamba_n_heads",
        ),
        row(
            "C-21 layers of another type",
            granite4("\"layer_types\": [\"hybrid\"],"),
            "supported: full_attention, attention, linear_attention, mamba",
            "layer_types",
        ),
        row(
            "C-21 no active experts of Granite",
            granite4("\"layer_types\": [\"attention\"], \"num_experts_per_tok\": 0,"),
            "0",
            "num_experts_per_tok",
        ),
        row(
            "C-21 layers as text",
            granite4("\"num_local_experts\": 0, \"layer_types\": \"mamba\","),
            "",
            "layer_types",
        ),
        row(
            "C-21 experts of MiniCPM",
            of("minicpm", "\"num_experts\": 8,"),
            "experts are not supported",
            "num_experts",
        ),
        row("C-21 sparse attention", of("minicpm", "\"sparse_config\": {\"topk\": 1},"), "sees all", "sparse_config"),
        row("C-21 as many heads of keys", bigcode, "one head of keys and values", "multi_query"),
        row("C-21 biases of some", of("internlm3", "\"qkv_bias\": true,"), "in all matrices or in none", "qkv_bias"),
        row("C-21 no rotation", of("ministral3", ""), "missing: rope_parameters", "rope_parameters"),
        row("C-21 clipped queries", of("olmo", "\"clip_qkv\": 8.0,"), "do not clip", "clip_qkv"),
        row("C-21 norms of Phi's heads", of("phi", "\"qk_layernorm\": true,"), "not supported", "qk_layernorm"),
        row("C-21 Command R+", of("cohere", "\"use_qk_norm\": true,"), "Command R+", "use_qk_norm"),
        row("C-21 norms after branches", opt("\"do_layer_norm_before\":false"), "350M", "do_layer_norm_before"),
        row("C-21 narrow vectors", opt("\"word_embed_proj_dim\":4"), "350M", "word_embed_proj_dim"),
        row(
            "C-21 a stream of norms",
            bloom("\"apply_residual_connection_post_layernorm\":true"),
            "as it was published",
            "apply_residual_connection_post_layernorm",
        ),
        row(
            "C-21 a third kind of layer",
            neo("[[[\"local\",\"x\"],1]]"),
            "supported: global, local",
            "attention_types",
        ),
        row("C-21 kinds of three layers", neo("[[[\"local\"],3]]"), "3 layers of 1", "attention_types"),
        row("C-21 kinds without an end", neo("[[[\"local\"],1000000000000]]"), "more than 1024", "attention_types"),
        row("C-21 no kind, often", neo("[[[],1000000000000]]"), "no word", "attention_types"),
        row("C-21 kinds by themselves", neo("[[\"local\"]]"), "how often", "attention_types"),
        row("C-21 no language model", r#"{"model_type": "qwen3_vl"}"#, "missing: text_config", "text_config"),
        row(
            "C-21 another language model",
            r#"{"model_type": "qwen3_vl", "text_config": {"model_type": "bert"}}"#,
            "\"bert\" is not supported",
            "model_type",
        ),
        row("C-21 a number for one", r#"{"model_type": "qwen3_vl", "text_config": 7}"#, "", "model_type"),
        row(
            "C-21 a quantized one",
            r#"{"model_type": "mistral3", "text_config": {"quantization_config": {"quant_method": "fp8"}}}"#,
            "already quantized (fp8)",
            "quantization_config",
        ),
    ]);
}

/// C-22
#[test]
fn parts_of_heads_are_parts() {
    let part = |part: &str| of("glm", &format!("\"head_dim\": 4, \"partial_rotary_factor\": {part},"));
    let gptj = |dim: &str| {
        let sizes = r#""n_embd":8,"n_layer":1,"n_head":2,"vocab_size":8,"n_positions":8"#;
        format!(r#"{{"model_type":"gptj",{sizes},"rotary_dim":{dim}}}"#)
    };
    run(vec![
        row("C-22 none of a head", part("0"), "more than 0 and at most 1", "partial_rotary_factor"),
        row("C-22 less than an element", part("0.2"), "0.2 of heads of 4", "partial_rotary_factor"),
        row("C-22 more than a head", part("1.5"), "at most 1", "partial_rotary_factor"),
        row("C-22 less than nothing", part("-0.5"), "at most 1", "partial_rotary_factor"),
        row("C-22 no element", gptj("0"), "0 elements of heads of 4", "rotary_dim"),
        row("C-22 more elements than a head has", gptj("6"), "name how many elements", "rotary_dim"),
        row("C-22 nothing for elements", gptj("null"), "whole number", "rotary_dim"),
        row("C-22 text", part("\"half\""), "finite", "partial_rotary_factor"),
        row(
            "C-22 an odd part beside a scaling",
            of("phi3", "\"partial_rotary_factor\": 0.75, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2},"),
            "an even number",
            "partial_rotary_factor",
        ),
    ]);
}

/// C-24
#[test]
fn delta_nets() {
    let qwen = |more: &str| {
        let small = "\"linear_num_key_heads\": 2, \"linear_num_value_heads\": 2,";
        of("qwen3_5_text", &format!("\"head_dim\": 4, {small} {more}"))
    };
    run(vec![
        row(
            "C-24 another type",
            qwen("\"layer_types\": [\"conv\"],"),
            "full_attention, linear_attention",
            "layer_types",
        ),
        row("C-24 no heads", qwen("\"linear_key_head_dim\": 0,"), "0 is outside 1..=1024", "key_dim").nowhere(),
        row("C-24 wide values", qwen("\"linear_value_head_dim\": 4096,"), "4096 is outside", "value_dim").nowhere(),
        row("C-24 a kernel of 0", qwen("\"linear_conv_kernel_dim\": 0,"), "0 is outside 1..=32", "conv_width")
            .nowhere(),
    ]);
    let text = qwen("").replace("\"linear_num_value_heads\": 2", "\"linear_num_value_heads\": 3");
    run(vec![row("C-24 heads that do not divide", text, "2 does not divide n_value_heads 3", "n_key_heads").nowhere()]);
    let text = qwen("").replace("\"silu\"", "\"gelu_pytorch_tanh\"");
    run(vec![row("C-24 another activation", text, "convolutions before delta nets", "hidden_act")]);
}

/// C-25
#[test]
fn packed_weights() {
    let packed = |more: &str| {
        LLAMA.replace(
            "\"dtype\": \"float32\"",
            &format!("\"quantization_config\": {{\"quant_method\": \"bitnet\"{more}}}"),
        )
    };
    let field = "quantization_config";
    run(vec![
        row("C-25 weights of every use", packed(", \"quantization_mode\": \"online\""), "when they are used", field),
        row("C-25 norms before matrices", packed(", \"use_rms_norm\": true"), "norms before all matrices", field),
        row("C-25 another class", packed(", \"linear_class\": \"x\""), "supported: bitlinear, autobitlinear", field),
    ]);
    // A packed matrix, and what lies beside it.
    let weights = |beside: &str, data: usize| {
        let matrix = r#""model.layers.0.mlp.up_proj.weight":{"dtype":"U8","shape":[4,8],"data_offsets":[0,32]}"#;
        file(&format!("{{{matrix}{beside}}}"), data)
    };
    let scale = |dtype: &str, n: usize, bytes: usize| {
        let end = 32 + bytes;
        let offsets = format!("\"data_offsets\":[32,{end}]");
        let scale = format!("\"dtype\":\"{dtype}\",\"shape\":[{n}],{offsets}");
        weights(&format!(",\"model.layers.0.mlp.up_proj.weight_scale\":{{{scale}}}"), end)
    };
    let of = |name, weights: Vec<u8>, expected, field| {
        let config = packed("");
        case(name, directory(&[("config.json", config.as_bytes()), ("model.safetensors", &weights)]), expected, field)
    };
    let field = "up_proj.weight";
    run(vec![
        of("C-25 no scale", weights("", 32), "packed, without its scale", field),
        of("C-25 a scale of 0", scale("F32", 1, 4), "one positive number", field),
        of("C-25 two scales", scale("F32", 2, 8), "2 x F32", field),
        of("C-25 a scale of bytes", scale("U8", 1, 1), "U8", field),
    ]);
    let unnamed = [("model.safetensors", &weights("", 32)[..])];
    run(vec![case("C-25 packed, and not said so", directory(&unnamed), "dtype U8 are not supported", field)]);
}

/// C-26
#[test]
fn bases_of_layers() {
    let swa = |more: &str| of("granite_swa", &format!("\"layer_types\": null, {more}"));
    run(vec![
        row(
            "C-26 a base below 0",
            swa("\"layer_rope_theta\": [-1],"),
            "a number that is not negative",
            "layer_rope_theta",
        ),
        row("C-26 a base as text", swa("\"layer_rope_theta\": [\"1\"],"), "finite", "layer_rope_theta"),
        row(
            "C-26 a base for two layers",
            swa("\"layer_rope_theta\": [1e4],").replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
            "1 elements for 2 layers",
            "layer_rope_theta",
        ),
        row("C-26 a window of 0", swa("\"sliding_window\": 0,"), "name the number", "sliding_window"),
    ]);
}

/// C-27
#[test]
fn layers_of_gemma_4() {
    let kinds =
        "\"full_attention\": {\"rope_type\": \"proportional\"}, \"sliding_attention\": {\"rope_type\": \"default\"}";
    let rope = format!("\"rope_parameters\": {{{kinds}}},");
    let gemma = |more: &str| {
        let small = "\"head_dim\": 4, \"global_head_dim\": 4, \"hidden_size_per_layer_input\": 0,";
        of("gemma4_text", &format!("{rope} {small} {more}"))
    };
    run(vec![
        row("C-27 experts", gemma("\"enable_moe_block\": true,"), "E2B and E4B", "enable_moe_block"),
        row("C-27 keys for values", gemma("\"attention_k_eq_v\": true,"), "E2B and E4B", "attention_k_eq_v"),
        row("C-27 no keys", gemma("\"num_kv_shared_layers\": 1,"), "1 of 1 layers", "num_kv_shared_layers"),
        row("C-27 more than all", gemma("\"num_kv_shared_layers\": 2,"), "2 of 1 layers", "num_kv_shared_layers"),
        row("C-27 no layer", gemma("\"per_layer_config\": {\"1\": {}},"), "none of 1 layers", "per_layer_config"),
        row("C-27 no number", gemma("\"per_layer_config\": {\"x\": {}},"), "by their numbers", "per_layer_config"),
        row(
            "C-27 another setting",
            gemma("\"per_layer_config\": {\"0\": {\"hidden_size\": 4}},"),
            "supported: num_key_value_heads, head_dim",
            "per_layer_config",
        ),
        row(
            "C-27 a head of 0",
            gemma("\"per_layer_config\": {\"0\": {\"head_dim\": 0}},"),
            "beyond every limit",
            "per_layer_config",
        ),
        row(
            "C-27 a head without end",
            gemma("\"per_layer_config\": {\"0\": {\"head_dim\": 4611686018427387904}},"),
            "beyond every limit",
            "per_layer_config",
        ),
        row(
            "C-27 rows of other tokens",
            of("gemma4_text", &format!("{rope} \"vocab_size_per_layer_input\": 7,")),
            "a row of its own",
            "vocab_size_per_layer_input",
        ),
        row(
            "C-27 both directions",
            gemma("\"use_bidirectional_attention\": \"all\","),
            "models that write",
            "use_bidirectional_attention",
        ),
    ]);
}

/// C-29
#[test]
fn state_spaces() {
    let mamba = |more: &str| {
        let small = "\"num_heads\": 4, \"head_dim\": 4, \"n_groups\": 2, \"state_size\": 4,";
        of("mamba2", &format!("{small} {more}"))
    };
    let numbers = "two numbers, the smaller one first";
    run(vec![
        row("C-29 heads of others", mamba("\"expand\": 3,"), "are not the width 24", "num_heads"),
        row("C-29 biases", mamba("\"use_bias\": true,"), "not supported", "use_bias"),
        row("C-29 one limit", mamba("\"time_step_limit\": [0.0],"), numbers, "time_step_limit"),
        row("C-29 limits that descend", mamba("\"time_step_limit\": [1.0, 0.5],"), numbers, "time_step_limit"),
        row("C-29 limits below 0", mamba("\"time_step_limit\": [-1, Infinity],"), numbers, "time_step_limit"),
        row(
            "C-29 a limit of text",
            mamba("\"time_step_limit\": [0, \"Infinity\"],"),
            "finite number",
            "time_step_limit",
        ),
        row("C-29 an epsilon without end", mamba("\"layer_norm_epsilon\": Infinity,"), "finite", "layer_norm_epsilon"),
        row("C-29 a kernel of 0", mamba("\"conv_kernel\": 0,"), "0 is outside 1..=32", "conv_width").nowhere(),
    ]);
    let text = mamba("").replace("\"n_groups\": 2", "\"n_groups\": 3");
    run(vec![row("C-29 groups that do not divide", text, "3 does not divide n_scan_heads 4", "n_groups").nowhere()]);
    let text = mamba("").replace("\"num_heads\": 4", "\"num_heads\": 5");
    run(vec![row("C-29 heads that do not divide", text, "are not the width 16", "num_heads")]);
    let falcon = |more: &str| {
        let small = "\"mamba_n_heads\": 4, \"mamba_d_ssm\": 16, \"mamba_d_state\": 4, \"projectors_bias\": false,";
        of("falcon_h1", &format!("\"head_dim\": 4, {small} {more}"))
    };
    let numbers = "5 positive numbers";
    run(vec![
        row("C-29 four multipliers", falcon("\"ssm_multipliers\": [1, 1, 1, 1],"), numbers, "ssm_multipliers"),
        row("C-29 six multipliers", falcon("\"ssm_multipliers\": [1, 1, 1, 1, 1, 1],"), numbers, "ssm_multipliers"),
        row("C-29 a multiplier of 0", falcon("\"mlp_multipliers\": [1, 0],"), "2 positive", "mlp_multipliers"),
        row(
            "C-29 a multiplier beside biases",
            falcon("\"attention_in_multiplier\": 2, \"attention_bias\": true,"),
            "2 beside biases",
            "attention_in_multiplier",
        ),
        row("C-29 biases of a branch", falcon("\"mamba_proj_bias\": true,"), "not supported", "mamba_proj_bias"),
    ]);
    let text = mamba("").replace("\"silu\"", "\"gelu\"");
    run(vec![row("C-29 another activation", text, "convolutions before state spaces", "hidden_act")]);
}
