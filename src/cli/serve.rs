//! `whit serve`: models that many clients ask at once.

pub(super) mod cache;
mod folder;

use super::args::{ComputeArgs, Serve};
use super::input::{self, ModelFile};
use super::output::{Outcome, bytes, note};
use super::plan::Wanted;
use super::sampling::sampler_options;
use super::setup::{compute, context_length, default_threads};
use super::streaming;
use crate::serve::{
    self, BODY_BYTES, Door, EMBED_BATCH, Facts, Gate, LONG_BODY_BYTES, LOOK_BYTES, LogFile, MOST_CONNECTIONS, Offered,
    Options, Outside, Served, reading_bytes,
};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpSocket;
use whit::Compute;
use whit::error::{Error, Kind, Result};
use whit::generate::ScheduleOptions;
use whit::inspect::MemoryPlan;
use whit::model::saved::Settings;
use whit::model::{Model, SessionOptions};
use whit::os::pressure::Pressure;
use whit::os::service::{self, Notifier};
use whit::os::{ends, memory, share};

/// Private memory of a connection, at most: what is read of a request and not taken yet.
const CONNECTION_BYTES: u64 = 64 << 10;

/// What is opened before the process gives up to do so.
pub(super) struct Opened {
    outside: Outside,
    log: Option<LogFile>,
}

/// What `whit serve` has from outside, and its log.
pub(super) fn open(args: &Serve) -> Result<Opened> {
    let outside = outside(args)?;
    let log = args.log.as_deref().map(|path| log_file(path, args.log_text)).transpose()?;
    Ok(Opened { outside, log })
}

/// The log at `path`, at whose end lines are written.
fn log_file(path: &Path, with_text: bool) -> Result<LogFile> {
    if path == Path::new("-") {
        return Ok(LogFile { file: Box::new(std::io::stderr()), with_text });
    }
    let name = || path.display().to_string();
    // Opening a pipe waits for whoever reads it.
    let is_file = std::fs::metadata(path).map_or(true, |there| there.is_file());
    if !is_file && !path.starts_with("/dev") {
        return Err(Error::new(Kind::Create, "it is no regular file").field("log").in_file(name()));
    }
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path);
    let file = file.map_err(|error| Error::new(Kind::Create, error.to_string()).field("log").in_file(name()))?;
    Ok(LogFile { file: Box::new(file), with_text })
}

/// What `whit serve` has from outside, opened before the process gives up to do so; signals are left to the thread that waits for
/// them.
fn outside(args: &Serve) -> Result<Outside> {
    share::take(args.manners.nice, args.manners.batch_scheduling)?;
    let door = match service::listener()? {
        Some(listener) => {
            let address = listener.local_addr().map_err(|error| Error::new(Kind::Unavailable, error.to_string()))?;
            check_access(args, address.ip())?;
            Door::Open(listener)
        }
        None => Door::Bound(bind(args)?),
    };
    ends::hold();
    Ok(Outside { door, notifier: Notifier::of_environment(), pressure: Pressure::watch() })
}

/// A socket that is bound to the address of the arguments.
fn bind(args: &Serve) -> Result<TcpSocket> {
    let failed = |error: std::io::Error| {
        let message = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program serves there".to_owned(),
            _ => error.to_string(),
        };
        Error::new(Kind::Unavailable, format!("{}:{}: {message}", args.host, args.port)).field("port")
    };
    let address = address(args)?;
    check_access(args, address.ip())?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
    // A server that is started anew need not wait for the connections of the one before.
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address).map_err(failed)?;
    Ok(socket)
}

fn address(args: &Serve) -> Result<SocketAddr> {
    let host = args.host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, args.port).to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| Error::usage(format!("{:?} is no address of this machine", args.host)).field("host"))
}

/// Refuses an address that others can reach, where everybody may ask and nobody said so.
fn check_access(args: &Serve, address: IpAddr) -> Result<()> {
    let access = &args.access;
    if address.is_loopback() || access.no_auth || !access.api_key.is_empty() || access.api_key_file.is_some() {
        return Ok(());
    }
    let error = Error::usage(format!("other machines reach {address}, and everybody there could ask")).field("host");
    Err(error.hint("--api-key-file FILE asks for a key, --no-auth lets everybody ask"))
}

pub(super) fn run(args: &Serve, Opened { outside, log }: Opened) -> Outcome<()> {
    let gate = gate(args)?;
    let sources = match (&args.model[..], &args.folder.models) {
        ([], Some(_)) => Vec::new(),
        ([], None) => vec![ModelFile::open(None)?],
        (paths, _) => paths.iter().map(|path| ModelFile::open(Some(path))).collect::<Result<Vec<_>>>()?,
    };
    let compute = compute(&with_a_core_left(&args.compute))?;
    let template = args.chat_template.as_deref().map(input::text).transpose()?;
    let mut models: Vec<(Offered, Facts)> = Vec::new();
    let mut plans = Vec::new();
    for source in &sources {
        let (offered, plan) = offered(args, source, template.as_deref(), &compute, !args.progress.quiet)?;
        if models.iter().any(|(other, _)| other.name == offered.name) {
            let error = Error::usage(format!("two models are called {:?}", offered.name)).field("model");
            return Err(error.hint("give one of the files another name").into());
        }
        plans.push(plan);
        let facts = Facts::of(&offered, &plan);
        models.push((offered, facts));
    }
    let (owned, computing) = (args.clone(), Arc::clone(&compute));
    let open = move |path: &Path| {
        let source = ModelFile::open(Some(path))?;
        offered(&owned, &source, template.as_deref(), &computing, false)
    };
    let folder = folder::read(args, open, &plans)?;
    let largest = folder.as_ref().map_or(0, |(_, found)| folder::largest(found));
    check_all(&plans, largest)?;
    tell_plan(args, &models, &plans);
    folder.iter().for_each(|(_, found)| folder::tell_plan(args, found));
    let options = Options {
        gate,
        queue: args.queue.into(),
        drain: Duration::from_secs_f64(args.drain),
        log,
        cache: cache::options(&args.cache, args.progress.quiet),
        max_celsius: args.manners.max_temp,
        tell: |text| note(format_args!("whit: {text}")),
    };
    let ready = |address: SocketAddr| {
        if !address.ip().is_loopback() && args.access.no_auth {
            note(format_args!("whit: everybody who reaches {address} may ask"));
        }
        note(format_args!("whit: serving at http://{address}"));
    };
    Ok(serve::run(outside, Served { models, folder }, &compute, options, ready)?)
}

/// The arguments with a fast core left to other programs, where nobody names threads and there are more than two.
fn with_a_core_left(args: &ComputeArgs) -> ComputeArgs {
    let leave_core = args.leave_core || args.threads.is_none() && default_threads() > 2;
    ComputeArgs { leave_core, ..args.clone() }
}

fn gate(args: &Serve) -> Result<Gate> {
    let access = &args.access;
    let mut keys = access.api_key.clone();
    if let Some(path) = &access.api_key_file {
        let text = input::text(path)?;
        let before = keys.len();
        keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        if keys.len() == before {
            return Err(Error::data("it has no key").in_file(path.display().to_string()));
        }
    }
    Ok(Gate { keys, origins: access.cors.clone(), names: access.names.clone() })
}

/// The model in `source` as it is offered, with its plan; where memory holds fewer texts than asked for, that is said if it is to be
/// `told`.
fn offered(
    args: &Serve,
    source: &ModelFile,
    template: Option<&str>,
    compute: &Compute,
    told: bool,
) -> Result<(Offered, MemoryPlan)> {
    let file = source.opened()?;
    let model = file.model();
    if model.tokenizer().is_none() {
        return Err(Error::data("this model has no tokenizer, so no text can be generated").in_file(source.name()));
    }
    let mut sampling = sampler_options(&args.sampling, model)?;
    if !args.sampling.banned_string.is_empty() {
        return Err(Error::usage("a server bans no strings").field("banned-string"));
    }
    sampling.seed = args.sampling.seed.unwrap_or(0);
    let sampling = sampling.checked(model.config().vocab_size)?;
    let context_length = context_length(&args.context, model)?;
    let (schedule, plan) = schedule(args, model, compute, context_length, told)?;
    let name = match source {
        ModelFile::Mapped(_) => source.short_name().trim_end_matches(".whit").to_owned(),
        ModelFile::Embedded(_) => "stories".to_owned(),
    };
    // One of several that is spoiled must not take the others with it.
    if args.folder.models.is_some() || args.model.len() > 1 {
        file.outlive_faults();
    }
    let offered = Offered {
        name,
        sampling,
        template: template.or_else(|| model.chat_template()).map(str::to_owned),
        template_arguments: args.template_arg.clone(),
        schedule,
        stops: args.stop.clone(),
        n_tokens: usize::try_from(args.n_tokens).ok(),
        file,
    };
    Ok((offered, plan))
}

/// As many texts at a time as the arguments say, or as memory holds, with their plan: beside them one that becomes a vector.
fn schedule(
    args: &Serve,
    model: &Model,
    compute: &Compute,
    context_length: usize,
    told: bool,
) -> Result<(ScheduleOptions, MemoryPlan)> {
    let kv = args.compute.kv.into();
    let mut n_texts = usize::from(args.parallel);
    loop {
        let options = ScheduleOptions { n_texts, context_length, kv, slice: args.slice.into() };
        let batch = options.batch() + EMBED_BATCH;
        let session = SessionOptions { context_length, kv, batch, logit_rows: n_texts + 1, hold_all: false };
        let wanted = Wanted::one(model, session, compute, &args.compute, "--ctx");
        match (Wanted { n_texts: n_texts as u64 + 1, n_constrained: n_texts as u64, ..wanted }.check(), n_texts) {
            (Ok(plan), _) => {
                streaming::refuse(&plan, args.compute.max_memory)?;
                if n_texts < usize::from(args.parallel) && told {
                    note(format_args!("whit: memory holds {n_texts} texts at a time"));
                }
                let waiting = plan.of_texts(model.config(), u64::from(args.queue) + 1).scratch - plan.scratch;
                let connections = u64::from(MOST_CONNECTIONS) * (CONNECTION_BYTES + BODY_BYTES as u64);
                let bodies = LONG_BODY_BYTES as u64 + reading_bytes(model, context_length);
                let on_disk = match args.cache.no_cache {
                    true => 0,
                    false => serve::planned_bytes(&Settings::new(model, kv)),
                };
                let besides = [waiting, connections, bodies, LOOK_BYTES, on_disk];
                let scratch = besides.into_iter().fold(plan.scratch, u64::saturating_add);
                return Ok((options, MemoryPlan { scratch, ..plan }));
            }
            (Err(error), n) if n == 1 || error.kind() != Kind::Resources => return Err(error),
            (Err(_), n) => n_texts = n / 2,
        }
    }
}

/// Refuses models that do not fit together, with the largest one of a folder, of so many bytes.
fn check_all(plans: &[MemoryPlan], largest: u64) -> Result<()> {
    let needed = plans.iter().map(MemoryPlan::to_come).fold(largest, u64::saturating_add);
    match memory::rooms().iter().map(|room| room.bytes).min() {
        Some(least) if needed > least => {
            let message =
                format!("{} of private memory are needed for all models, there are {}", bytes(needed), bytes(least));
            let error = Error::new(Kind::Resources, message).field("memory plan");
            Err(error.hint("a smaller --ctx, --parallel or --queue needs less"))
        }
        _ => Ok(()),
    }
}

/// Says how much memory is taken, before any of it is.
fn tell_plan(args: &Serve, models: &[(Offered, Facts)], plans: &[MemoryPlan]) {
    if args.progress.quiet {
        return;
    }
    for ((offered, _), plan) in models.iter().zip(plans) {
        let ScheduleOptions { n_texts, context_length, kv, .. } = offered.schedule;
        note(format_args!(
            "whit: {}: {n_texts} texts of {context_length} tokens at a time, {} more wait; {} mapped, {} of {} cache, {} besides, {} private in all",
            whit::error::printable(&offered.name),
            args.queue,
            bytes(plan.mapped),
            bytes(plan.kv),
            kv.name(),
            bytes(plan.private() - plan.kv),
            bytes(plan.private()),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    fn bound(line: &str) -> Result<()> {
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("arguments");
        let Command::Serve(args) = cli.command else { panic!("whit serve") };
        check_access(&args, address(&args)?.ip())
    }

    #[test]
    fn an_address_that_others_reach_needs_a_word() {
        for line in ["whit serve", "whit serve --host localhost", "whit serve --host [::1]"] {
            assert_eq!(bound(line), Ok(()), "{line}");
        }
        assert!(bound("whit serve --host 0.0.0.0").is_err_and(|error| error.named_field() == Some("host")));
        for also in ["--no-auth", "--api-key a", "--api-key-file a"] {
            assert_eq!(bound(&format!("whit serve --host 0.0.0.0 {also}")), Ok(()), "{also}");
        }
        assert!(bound("whit serve --host nowhere.invalid").is_err());
    }
}
