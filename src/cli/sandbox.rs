//! What a command gives up before it opens the first file ([`whit::os::sandbox`]).

use super::args::Command;
use clap::ArgMatches;
use std::path::{Path, PathBuf};
use whit::os::sandbox::{Paths, confine_process, folders_of};

/// The arguments that name files which are written.
const WRITTEN: [&str; 5] = ["html", "output", "receipt", "session", "tree"];
/// That which names the folder of a cache.
const CACHE: &str = "cache";
/// That which names a file behind the word for what it is for.
const GUESS: &str = "guess";

/// Confines the process to what `command` with these arguments is about. The files of a conversation are not bounded: `/save` and
/// `/load` take any. What prints completions and man pages reads nothing of strangers.
pub(super) fn confine(command: &Command, arguments: &ArgMatches) {
    match (command, arguments.subcommand()) {
        (Command::Completions(_) | Command::Man(_), _) | (_, None) => {}
        (Command::Chat(_) | Command::Run(_), _) => drop(confine_process(None)),
        #[cfg(feature = "server")]
        (Command::Serve(args), Some((_, arguments))) => {
            let mut paths = paths(arguments);
            paths.read.extend(args.folder.models.iter().flat_map(|folder| links(folder)));
            let write = super::serve::cache::made(&args.cache).into_iter().collect();
            let _ = confine_process(Some(&Paths { write, accepts: true, ..paths }));
        }
        (_, Some((_, arguments))) => drop(confine_process(Some(&paths(arguments)))),
    }
}

/// Where the links in a folder of models lead now.
#[cfg(feature = "server")]
fn links(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.filter_map(|entry| std::fs::canonicalize(entry.path()).ok()).collect()
}

/// The files that the arguments and the environment name. Whatever an argument says is taken for a path that may be read, so that
/// none is forgotten; what is no path leads nowhere.
fn paths(arguments: &ArgMatches) -> Paths {
    let mut paths = Paths::default();
    let mut cache = std::env::var_os("WHIT_CACHE").map(PathBuf::from);
    for id in arguments.ids() {
        for said in arguments.try_get_raw(id.as_str()).ok().flatten().into_iter().flatten() {
            let path = PathBuf::from(said);
            match id.as_str() {
                CACHE => cache = Some(path.clone()),
                GUESS => paths.read.extend(said.to_string_lossy().split_once(':').map(|(_, path)| path.into())),
                written if WRITTEN.contains(&written) => paths.write.extend(folders_of(&path)),
                _ => {}
            }
            paths.read.push(path);
        }
    }
    // Where it is not there yet, it is made, with the folders above it.
    let there =
        |path: &Path| path.ancestors().find(|folder| folder.is_dir()).map_or_else(|| ".".into(), Path::to_path_buf);
    paths.write.extend(cache.as_deref().map(there));
    paths
}
