//! `whit-fuzz TARGET`, or `whit-fuzz all`: see the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use whit_fuzz::bench::{Bench, Stop};
use whit_fuzz::targets::{self, Target};
use whit_fuzz::watch::{self, Campaign};
use whit_fuzz::worker::{self, Share};

/// Feeds readers with random and mutated inputs.
#[derive(Parser)]
#[command(name = "whit-fuzz")]
struct Args {
    /// A format, or `all`.
    target: String,
    /// Cases of each target; as many as the time allows by default.
    #[arg(long)]
    cases: Option<u64>,
    /// Seconds of each target; 10 where neither this nor the number of cases is given.
    #[arg(long)]
    seconds: Option<u64>,
    /// Seed of all cases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processes at a time.
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// Runs one case, `SEED:CASE`, in this process.
    #[arg(long)]
    replay: Option<String>,
    /// Puts the files of the case that is replayed into this folder.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Runs cases for a parent: the first, and from one to the next.
    #[arg(long, hide = true)]
    worker: Option<String>,
    /// Scratch folder of a worker.
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("whit-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

/// True where no promise was broken.
fn run(args: &Args) -> Result<bool, String> {
    let chosen = targets::named(&args.target);
    if chosen.is_empty() {
        let names: Vec<_> = targets::all().iter().map(|target| target.name()).collect();
        return Err(format!("no target {}; there are all, {}", args.target, names.join(", ")));
    }
    let mut sound = true;
    for target in &chosen {
        let target = target.as_ref();
        if let Some(place) = &args.replay {
            sound &= worker::on_small_stack(|| replay(target, args, place))??;
        } else if let Some(share) = &args.worker {
            worker::on_small_stack(|| worker::run(target, &share_of(args, share)?))??;
        } else {
            sound &= campaign(target, args)?;
        }
    }
    Ok(sound)
}

fn campaign(target: &dyn Target, args: &Args) -> Result<bool, String> {
    let seconds = args.seconds.or(args.cases.is_none().then_some(10));
    let campaign = Campaign {
        target: target.name().to_string(),
        seed: args.seed,
        cases: args.cases.unwrap_or(u64::MAX),
        seconds,
        threads: args.threads.max(1),
    };
    let report = watch::run(&campaign).map_err(|error| format!("{}: {error}", target.name()))?;
    println!("{report}");
    Ok(report.findings == 0)
}

fn pair(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers.ok_or_else(|| format!("{text}: expected two numbers with a colon between"))
}

fn share_of(args: &Args, share: &str) -> Result<Share, String> {
    let (first, step) = pair(share)?;
    let folder = args.folder.clone().ok_or("a worker needs a folder")?;
    Ok(Share { seed: args.seed, first, step, end: args.cases.unwrap_or(u64::MAX), seconds: args.seconds, folder })
}

fn replay(target: &dyn Target, args: &Args, place: &str) -> Result<bool, String> {
    let (seed, case) = pair(place)?;
    let (files, mut random) = worker::files(target, seed, case);
    if let Some(folder) = &args.write {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        for (name, bytes) in &files {
            std::fs::write(folder.join(name), bytes).map_err(|error| error.to_string())?;
        }
    }
    let folder = std::env::temp_dir().join(format!("whit-fuzz-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut bench = Bench::new(folder.clone(), target.bound()).map_err(|error| error.to_string())?;
    let verdict = target.run(&files, &mut bench, &mut random);
    let _ = std::fs::remove_dir_all(&folder);
    match &verdict {
        Ok(()) => println!("accepted"),
        Err(Stop::Refused(error)) => println!("refused: {error}"),
        Err(Stop::Broken(what)) => println!("FINDING {what}"),
    }
    println!("heap: {:?}", bench.usage());
    Ok(!matches!(verdict, Err(Stop::Broken(_))))
}
