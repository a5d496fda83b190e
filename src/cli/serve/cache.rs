//! The folder in which a server keeps beginnings of texts.

use crate::cli::args::ServerCache;
use crate::cli::output::{bytes, note};
use crate::serve::CacheOptions;
use std::path::PathBuf;
use whit::error::{Error, printable};
use whit::os::folder::Folder;

/// The folder's name among those of other programs.
const NAME: &str = "whit";

/// The folder that the arguments or the environment name; `None` where there is to be none, or nothing says where.
fn folder(args: &ServerCache) -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if args.no_cache {
        return None;
    }
    let named = args.cache.clone().or_else(|| of("WHIT_CACHE"));
    // That of a service, which its manager has made.
    let of_service = || of("CACHE_DIRECTORY");
    let of_user = || of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    named.or_else(of_service).or_else(|| of_user().map(|caches| caches.join(NAME)))
}

/// The folder, made where it was not there, which it must be before the process confines itself. Why it cannot be used is told where
/// it would be.
pub(in crate::cli) fn made(args: &ServerCache) -> Option<PathBuf> {
    folder(args).filter(|path| Folder::open(path).is_ok())
}

/// Where beginnings are to be kept; where nowhere although nobody said so, that is told.
pub(super) fn options(args: &ServerCache, is_quiet: bool) -> Option<CacheOptions> {
    let folder = folder(args);
    if !is_quiet {
        match &folder {
            Some(path) => {
                let (path, most) = (path.display().to_string(), bytes(args.cache_size));
                note(format_args!("whit: beginnings of texts are kept in {}, up to {most}", printable(&path)));
            }
            None if args.no_cache => {}
            None => note(format_args!("whit: nothing names a folder for a cache on disk; --cache DIR does")),
        }
    }
    folder.map(|folder| CacheOptions { folder, max_bytes: args.cache_size, complain })
}

/// Tells why beginnings are not kept or not found.
fn complain(error: &Error) {
    note(format_args!("whit: the cache on disk: {error}; texts are written without it"));
}
