//! `whit inspect`: what a model file holds, and what this CPU does with it.

use super::args::Inspect;
use super::input::ModelFile;
use super::json::{self, Object};
use super::output::{Outcome, Output, bytes, hex};
use super::quality;
use super::table::table;
use std::sync::Arc;
use whit::TokenId;
use whit::chat::Conversation;
use whit::error::printable;
use whit::format::{File, FileKind, Quality, SectionId, TensorEntry};
use whit::kernels;
use whit::model::{Activation, Attention, BranchNorms, Config, Experts, Layer, Mixer, MlpKind, Model};
use whit::os::cpu::{self, ThreadChoice};
use whit::os::memory;

pub(super) fn run(args: &Inspect) -> Outcome<()> {
    let source = ModelFile::open(args.model.path())?;
    let file = source.file()?;
    let model = match file.kind() {
        FileKind::LanguageModel => Some(source.model()?),
        FileKind::WordVectors => None,
    };
    let report = file.quality().map_err(|error| error.in_file(source.name()))?;
    let mut out = Output::new();
    if args.print.json {
        out.line(&as_json(&source.name(), &file, model.as_ref(), report.as_ref()))?;
    } else {
        let mut page = String::new();
        header(&mut page, &source.name(), &file);
        if let Some(model) = &model {
            network(&mut page, model);
        }
        origin(&mut page, &file);
        if let Some(report) = &report {
            title(&mut page, "quality");
            page.push_str(&format!("{}\n\n", quality::measured(report)));
            page.push_str(&quality::figures(report, None));
            page.push('\n');
            page.push_str(&quality::formats(&file));
        }
        sections(&mut page, &file);
        tensors(&mut page, file.tensors());
        machine(&mut page);
        out.page(&page)?;
    }
    out.flush()
}

fn field(page: &mut String, name: &str, value: &str) {
    page.push_str(&format!("{name:<16}{value}\n"));
}

fn title(page: &mut String, name: &str) {
    page.push_str(&format!("\n{name}\n"));
}

fn header(page: &mut String, name: &str, file: &File<'_>) {
    let (major, minor) = file.version();
    field(page, "file", &printable(name));
    field(page, "kind", &file.kind().to_string());
    field(page, "format", &format!("{major}.{minor}"));
    field(page, "bytes", &format!("{} ({})", file.file_bytes(), bytes(file.file_bytes())));
    field(page, "content", &hex(&file.content_hash()));
}

/// Name and value, as JSON, of every dimension and option that says something.
fn config_fields(config: &Config) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("dim", config.dim.to_string()),
        ("hidden_dim", each(config.layers.iter().map(|layer| layer.mlp.hidden_dim))),
        ("n_layers", config.n_layers().to_string()),
        ("n_heads", each(config.attentions().map(|a| a.n_heads))),
        ("n_kv_heads", each(config.attentions().map(|a| a.n_kv_heads))),
        ("head_dim", each(config.attentions().map(|a| a.head_dim))),
        ("vocab_size", config.vocab_size.to_string()),
        ("context_length", config.context_length.to_string()),
        ("norm_eps", format!("{:e}", config.norm_eps)),
    ];
    if config.layers.iter().any(|layer| layer.attention().is_none() || layer.beside.is_some()) {
        let names = |layer: &Layer| json::string(&layer.mixers().map(Mixer::name).collect::<Vec<_>>().join(", "));
        fields.push(("mixers", json::list(config.layers.iter().map(names))));
    }
    let convs = || config.layers.iter().filter_map(Layer::short_conv);
    if convs().next().is_some() {
        fields.push(("channels", each(convs().map(|conv| conv.channels))));
        fields.push(("conv_width", each(convs().map(|conv| conv.width))));
        fields.push(("conv_bias", each(convs().map(|conv| conv.bias))));
    }
    let deltas = || config.layers.iter().filter_map(Layer::delta_net);
    if deltas().next().is_some() {
        fields.push(("n_key_heads", each(deltas().map(|delta| delta.n_key_heads))));
        fields.push(("n_value_heads", each(deltas().map(|delta| delta.n_heads))));
        fields.push(("key_dim", each(deltas().map(|delta| delta.key_dim))));
        fields.push(("value_dim", each(deltas().map(|delta| delta.value_dim))));
        fields.push(("delta_conv_width", each(deltas().map(|delta| delta.width))));
    }
    let scans = || config.layers.iter().filter_map(Layer::mamba2);
    if scans().next().is_some() {
        fields.push(("n_scan_heads", each(scans().map(|scan| scan.n_heads))));
        fields.push(("scan_head_dim", each(scans().map(|scan| scan.head_dim))));
        fields.push(("state_dim", each(scans().map(|scan| scan.state_dim))));
        fields.push(("n_groups", each(scans().map(|scan| scan.n_groups))));
        fields.push(("scan_conv_width", each(scans().map(|scan| scan.width))));
    }
    let channels = || config.layers.iter().filter_map(Layer::mamba1);
    if channels().next().is_some() {
        fields.push(("scan_channels", each(channels().map(|scan| scan.channels))));
        fields.push(("state_dim", each(channels().map(|scan| scan.state_dim))));
        fields.push(("step_rank", each(channels().map(|scan| scan.step_rank))));
        fields.push(("scan_conv_width", each(channels().map(|scan| scan.width))));
    }
    if config.attentions().any(|a| a.window.is_some()) {
        fields.push(("sliding_window", each(config.attentions().map(|a| a.window.unwrap_or(0)))));
    }
    fields.extend([
        ("tied", config.tied.to_string()),
        ("qkv_bias", each(config.attentions().map(|a| a.qkv_bias))),
        ("output_bias", each(config.attentions().map(|a| a.output_bias))),
        ("mlp_bias", each(config.layers.iter().map(|layer| layer.mlp.bias))),
        ("qk_norm", each(config.attentions().map(|a| a.qk_norm.is_some()))),
    ]);
    let layers = || config.layers.iter();
    let kind = |layer: &Layer| {
        let MlpKind { gated, activation } = layer.mlp.kind;
        json::string(&format!("{}{}", activation.name(), if gated { "(gate) * up" } else { "(up)" }))
    };
    let plain = |layer: &Layer| [layer.mixer_norms, layer.mlp_norms] == [BranchNorms::PRE; 2];
    let norms = |layer: &Layer| {
        let of = |norms: BranchNorms| match (norms.input, norms.output) {
            (true, true) => "before and after",
            (true, false) => "before",
            (false, true) => "after",
            (false, false) => "none",
        };
        json::string(&format!("{}, {}", of(layer.mixer_norms), of(layer.mlp_norms)))
    };
    let float = |value: Option<f32>| value.map_or("null".into(), |value| value.to_string());
    let shared = |attention: &Attention| attention.shares.map_or("null".into(), |layer| layer.to_string());
    let experts = |layer: &Layer| {
        let routed = |experts: &Experts| format!("{} of {}", experts.routing.n_active, experts.n_experts);
        json::string(&layer.mlp.experts.as_ref().map_or("none".into(), routed))
    };
    let unusual = [
        ("experts", layers().any(|layer| layer.mlp.experts.is_some()), each(layers().map(experts))),
        ("mlp", layers().any(|l| ![MlpKind::SWIGLU, GPT2_MLP].contains(&l.mlp.kind)), each(layers().map(kind))),
        ("norms", !layers().all(plain), each(layers().map(norms))),
        ("parallel", layers().any(|layer| layer.parallel), each(layers().map(|layer| layer.parallel))),
        ("layer_inputs", config.layer_inputs.is_some(), config.layer_inputs.unwrap_or(0).to_string()),
        ("scaled", layers().any(|layer| layer.scaled), each(layers().map(|layer| layer.scaled))),
        ("v_norm", config.attentions().any(|a| a.v_norm), each(config.attentions().map(|a| a.v_norm))),
        ("keys_of_layer", config.attentions().any(|a| a.shares.is_some()), each(config.attentions().map(shared))),
        ("sinks", config.attentions().any(|a| a.sinks), each(config.attentions().map(|a| a.sinks))),
        ("score_cap", config.attentions().any(|a| a.cap.is_some()), each(config.attentions().map(|a| float(a.cap)))),
        ("logit_cap", config.logit_cap.is_some(), float(config.logit_cap)),
    ];
    fields.extend(unusual.into_iter().filter(|(_, is, _)| *is).map(|(name, _, value)| (name, value)));
    fields
}

const GPT2_MLP: MlpKind = MlpKind::plain(Activation::GeluTanh);

/// The value of all layers, or where they differ a list of one for each.
fn each<T: ToString + PartialEq>(values: impl Iterator<Item = T>) -> String {
    let values: Vec<T> = values.collect();
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => first.to_string(),
        _ => json::list(values.iter().map(T::to_string)),
    }
}

/// The authors' recommendations that are there.
fn generation_fields(model: &Model) -> Vec<(&'static str, String)> {
    let defaults = model.generation();
    let floats = [
        ("temperature", defaults.temperature),
        ("top_p", defaults.top_p),
        ("min_p", defaults.min_p),
        ("repeat_penalty", defaults.repeat_penalty),
    ];
    let mut fields: Vec<_> =
        floats.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.to_string()))).collect();
    fields.extend(defaults.top_k.map(|k| ("top_k", k.to_string())));
    fields
}

/// The tokens that end a text or a reply.
fn end_tokens(model: &Arc<Model>) -> Vec<TokenId> {
    Conversation::new(model).map_or_else(|_| model.end_tokens(), |conversation| conversation.end_tokens().to_vec())
}

fn network(page: &mut String, model: &Arc<Model>) {
    title(page, "network");
    field(page, "family", &printable(&model.config().family));
    for (name, value) in config_fields(model.config()) {
        field(page, name, &value);
    }
    field(page, "read a token", &bytes(model.bytes_per_token()));
    if let Some(tokenizer) = model.tokenizer() {
        title(page, "tokenizer");
        field(page, "tokens", &tokenizer.vocab_size().to_string());
        let id = |id: Option<u32>| id.map_or("none".into(), |id| id.to_string());
        let begins = if tokenizer.adds_bos() { "put before a text" } else { "not put before a text" };
        field(page, "bos", &format!("{} ({begins})", id(tokenizer.bos())));
        field(page, "eos", &id(tokenizer.eos()));
        field(page, "chat template", if model.chat_template().is_some() { "yes" } else { "none" });
    }
    let mut generation = generation_fields(model);
    let name = |id: u32| match model.tokenizer() {
        Some(tokenizer) => format!("{id} {}", printable(&String::from_utf8_lossy(tokenizer.bytes(id)))),
        None => id.to_string(),
    };
    let ends: Vec<String> = end_tokens(model).into_iter().map(name).collect();
    generation.extend((!ends.is_empty()).then(|| ("end tokens", ends.join(", "))));
    if !generation.is_empty() {
        title(page, "generation");
    }
    for (name, value) in generation {
        field(page, name, &value);
    }
}

fn origin(page: &mut String, file: &File<'_>) {
    title(page, "origin");
    if let Some(provenance) = file.provenance() {
        field(page, "converter", &printable(&provenance.converter));
        field(page, "source format", &printable(&provenance.source_format));
        for source in &provenance.sources {
            let (name, hash) = (printable(&source.name), hex(&source.hash));
            field(page, "source", &format!("{name}, {} bytes, {hash}", source.bytes));
        }
    }
    let licence = file.licence().and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    field(page, "licence", &licence.map_or("none".into(), |line| printable(line.trim())));
}

fn section_name(id: SectionId) -> String {
    id.0.escape_ascii().to_string()
}

fn sections(page: &mut String, file: &File<'_>) {
    title(page, "sections");
    let rows =
        file.sections().map(|(id, offset, length)| vec![section_name(id), format!("{offset:#x}"), length.to_string()]);
    page.push_str(&table(&["id", "offset", "bytes"], &rows.collect::<Vec<_>>()));
}

fn shape(tensor: &TensorEntry<'_>) -> String {
    tensor.dims().iter().map(u64::to_string).collect::<Vec<_>>().join(" x ")
}

fn tensors(page: &mut String, tensors: &[TensorEntry<'_>]) {
    title(page, "tensors");
    let rows = tensors.iter().map(|tensor| {
        let errors = tensor.errors;
        let snr = if errors.rms > 0.0 { format!("{:.1}", errors.snr_db()) } else { "exact".into() };
        vec![
            printable(tensor.name),
            shape(tensor),
            tensor.dtype.name().into(),
            tensor.bytes.to_string(),
            format!("{:.3e}", errors.signal_rms),
            format!("{:.3e}", errors.rms),
            format!("{:.3e}", errors.max),
            snr,
        ]
    });
    let names = ["name", "shape", "dtype", "bytes", "rms", "rms error", "max error", "SNR dB"];
    page.push_str(&table(&names, &rows.collect::<Vec<_>>()));
}

fn machine(page: &mut String) {
    title(page, "this machine");
    let names: Vec<&str> = kernels::available().map(|kernels| kernels.name).collect();
    field(page, "CPU features", &kernels::features().join(" "));
    field(page, "kernels", &names.join(" "));
    field(page, "chosen", kernels::detect().name);
    field(page, "threads", &cpu::choose_threads().to_string());
    for (name, figure) in [("memory free", memory::available_bytes()), ("memory limit", memory::cgroup_limit_bytes())] {
        if let Some(figure) = figure {
            field(page, name, &bytes(figure));
        }
    }
}

fn as_json(name: &str, file: &File<'_>, model: Option<&Arc<Model>>, report: Option<&Quality>) -> String {
    let (major, minor) = file.version();
    let mut object = Object::default()
        .text("file", name)
        .text("kind", &file.kind().to_string())
        .text("format", &format!("{major}.{minor}"))
        .raw("bytes", file.file_bytes())
        .text("content_hash", &hex(&file.content_hash()));
    if let Some(model) = model {
        let mut config = Object::default().text("family", &model.config().family);
        let mut generation = Object::default();
        for (name, value) in config_fields(model.config()) {
            config = config.raw(name, value);
        }
        for (name, value) in generation_fields(model) {
            generation = generation.raw(name, value);
        }
        let ends = json::list(model.generation().eos.iter().map(u32::to_string));
        object = object
            .raw("config", config.line())
            .raw("bytes_per_token", model.bytes_per_token())
            .raw("chat_template", model.chat_template().is_some())
            .raw("generation", generation.raw("eos", ends).line())
            .raw("end_tokens", json::list(end_tokens(model).iter().map(u32::to_string)));
    }
    if let Some(provenance) = file.provenance() {
        let sources = provenance.sources.iter().map(|source| {
            let object = Object::default().text("name", &source.name).raw("bytes", source.bytes);
            object.text("hash", &hex(&source.hash)).line()
        });
        let origin = Object::default()
            .text("converter", &provenance.converter)
            .text("source_format", &provenance.source_format)
            .raw("sources", json::list(sources));
        object = object.raw("provenance", origin.line());
    }
    if let Some(report) = report {
        object = object.raw("quality", quality::as_json(report, file, None));
    }
    let sections = file.sections().map(|(id, offset, length)| {
        Object::default().text("id", &section_name(id)).raw("offset", offset).raw("bytes", length).line()
    });
    let available = json::list(kernels::available().map(|kernels| json::string(kernels.name)));
    object
        .maybe("licence", file.licence())
        .raw("sections", json::list(sections))
        .raw("tensors", json::list(file.tensors().iter().map(tensor_json)))
        .raw("cpu_features", json::list(kernels::features().into_iter().map(json::string)))
        .raw("kernels", available)
        .text("chosen_kernels", kernels::detect().name)
        .raw("threads", threads_json(&cpu::choose_threads()))
        .line()
}

fn threads_json(choice: &ThreadChoice) -> String {
    Object::default()
        .raw("chosen", choice.n_threads)
        .raw("cpus", json::list(choice.cpus.iter().map(usize::to_string)))
        .text("why", &choice.to_string())
        .line()
}

fn tensor_json(tensor: &TensorEntry<'_>) -> String {
    Object::default()
        .text("name", tensor.name)
        .raw("shape", json::list(tensor.dims().iter().map(u64::to_string)))
        .text("dtype", tensor.dtype.name())
        .raw("bytes", tensor.bytes)
        .number("rms", tensor.errors.signal_rms.into())
        .number("rms_error", tensor.errors.rms.into())
        .number("max_error", tensor.errors.max.into())
        .number("snr_db", tensor.errors.snr_db())
        .line()
}
