//! Answers that need no model: how the server is, and what it has.

use super::facts::Facts;
use super::house::House;
use super::reply::{PAGE, Refusal, Reply, TEXT};
use super::routes::Route;
use super::{llama, ollama, openai, stats};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use whit::os::thermal;

/// The page.
pub(super) fn page(_house: &House) -> Reply {
    Reply::text(PAGE, include_str!("page.html"))
}

/// The answer of a route that needs no body, if it is one; `model` is the model of the path.
pub(super) fn answer(house: &House, route: Route, model: &str) -> Option<Result<Reply, Refusal>> {
    let is_ready = house.is_ready.load(Ordering::Relaxed) && !house.is_ending();
    let well = |is_well: bool, value: Value| {
        let status = if is_well { 200 } else { 503 };
        Ok(Reply { status, ..Reply::json(&value) })
    };
    Some(match route {
        Route::Live => Ok(Reply::text(TEXT, "ok\n")),
        Route::Ready if is_ready => Ok(Reply::text(TEXT, "ok\n")),
        Route::Ready => Err(Refusal::ending()),
        Route::Health => well(is_ready, json!({"status": if is_ready { "ok" } else { "ending" }})),
        Route::Metrics => Ok(Reply::text(TEXT, metrics(house))),
        Route::Status => named(house, model).map(|facts| Reply::json(&status(house, &facts))),
        Route::Models => Ok(Reply::json(&openai::models(house))),
        Route::Model => named(house, model).map(|facts| Reply::json(&openai::model(house, &facts))),
        Route::Version => Ok(Reply::json(&json!({"version": env!("CARGO_PKG_VERSION")}))),
        Route::Tags => Ok(Reply::json(&ollama::tags(house))),
        Route::Running => Ok(Reply::json(&ollama::running(house))),
        Route::Props => first(house).map(|facts| Reply::json(&llama::props(house, &facts))),
        Route::Slots => first(house).map(|facts| Reply::json(&llama::slots(house, &facts))),
        _ => return None,
    })
}

/// What is known of the model of clients that name none.
fn first(house: &House) -> Result<Arc<Facts>, Refusal> {
    house.models.first().ok_or_else(|| Refusal::new(404, "there is no model here"))
}

/// What is known of the model of this name.
fn named(house: &House, name: &str) -> Result<Arc<Facts>, Refusal> {
    let facts = house.models.named(name).and_then(|place| house.models.facts(place));
    facts.ok_or_else(|| Refusal::new(404, "there is no such model here"))
}

/// How the server is, for its page, with the model that it asks about.
fn status(house: &House, facts: &Facts) -> Value {
    let options = &facts.sampling;
    let active = stats::of(&house.stats.active);
    json!({
        "model": facts.name,
        "models": house.models.all().iter().map(|facts| facts.name.as_str()).collect::<Vec<_>>(),
        "context_length": facts.context_length,
        "queue": (house.load() as u64).saturating_sub(active),
        "active": active,
        "parallel": house.n_places(),
        "decode_tokens_per_second": house.stats.decode(),
        "prefill_tokens_per_second": house.stats.prefill(),
        "temperature_celsius": thermal::condition().celsius,
        "chat": facts.template.is_some(),
        "defaults": {
            "temperature": options.temperature, "top_k": options.top_k, "top_p": options.top_p, "min_p": options.min_p,
            "repeat_penalty": options.repeat_penalty, "seed": options.seed,
        },
        "fingerprint": facts.fingerprint,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// Counters and gauges, as Prometheus reads them.
fn metrics(house: &House) -> String {
    let stats = &house.stats;
    let counters = [
        ("requests", "Requests that came in.", stats::of(&stats.requests)),
        ("requests_refused", "Requests that were refused.", stats::of(&stats.refused)),
        ("texts", "Texts that were begun.", stats::of(&stats.texts)),
        ("texts_cancelled", "Texts that nobody waited for to the end.", stats::of(&stats.cancelled)),
        ("prompt_tokens", "Tokens of prompts that were computed.", stats::of(&stats.prompt_tokens)),
        ("prompt_tokens_held", "Tokens of prompts that were held already.", stats::of(&stats.held_tokens)),
        ("written_tokens", "Tokens that were written.", stats::of(&stats.written_tokens)),
        ("cache_texts", "Texts of which a beginning was read from the cache on disk.", stats::of(&stats.disk_texts)),
        ("cache_tokens", "Tokens that were read from the cache on disk.", stats::of(&stats.disk_tokens)),
        ("cache_written_bytes", "Bytes that were written to the cache on disk.", stats::of(&stats.disk_bytes)),
        ("models_loaded", "Times a model of the folder came into memory.", stats::of(&stats.loads)),
        ("models_unloaded", "Times a model of the folder went.", stats::of(&stats.unloads)),
        ("memory_pressure", "Times memory was short, by the system's word.", stats::of(&stats.pressures)),
        ("states_given_back", "States of texts that were given back then.", stats::of(&stats.states_given_back)),
    ];
    let active = stats::of(&stats.active);
    let gauges = [
        ("texts_active", "Texts that are written now.", Some(active as f64)),
        ("texts_waiting", "Texts that wait for a place.", Some((house.load() as u64).saturating_sub(active) as f64)),
        ("prefill_tokens_per_second", "Pace of prompts in the last while.", stats.prefill()),
        ("decode_tokens_per_second", "Pace of writing in the last while, of all texts together.", stats.decode()),
        ("models_in_memory", "Models in memory.", Some(house.models.all_loaded().len() as f64)),
        ("uptime_seconds", "Time since the start.", Some(house.started.elapsed().as_secs_f64())),
        ("temperature_celsius", "The hottest zone of the machine.", thermal::condition().celsius),
    ];
    let mut out = String::new();
    for (name, help, value) in counters {
        let _ = writeln!(
            out,
            "# HELP whit_{name}_total {help}\n# TYPE whit_{name}_total counter\nwhit_{name}_total {value}"
        );
    }
    for (name, help, micros) in [
        ("busy", "Time in which texts were computed.", &stats.busy_micros),
        ("paused", "Time in which the machine cooled.", &stats.paused_micros),
    ] {
        let seconds = stats::of(micros) as f64 / 1e6;
        let _ = writeln!(
            out,
            "# HELP whit_{name}_seconds_total {help}\n# TYPE whit_{name}_seconds_total counter\n\
             whit_{name}_seconds_total {seconds}"
        );
    }
    for (name, help, value) in gauges {
        if let Some(value) = value {
            let _ = writeln!(out, "# HELP whit_{name} {help}\n# TYPE whit_{name} gauge\nwhit_{name} {value}");
        }
    }
    out
}
