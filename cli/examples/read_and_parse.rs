//! The least that a check of manifests can cost, for benches to compare with: finds the files in a folder with the walker that
//! `sluicegate check` uses, reads each and parses it with the same YAML parser, on as many threads. It keeps nothing and decides
//! nothing; it prints how many files it read and how many documents they hold.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ignore::{WalkBuilder, WalkState};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use sluicegate_cli::manifest::yaml::{self, Limits};

/// The one that `sluicegate` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let files = find(&folder);
    let documents: usize = files.par_iter().map(|path| parse(path)).sum::<io::Result<usize>>()?;
    io::Write::write_fmt(&mut io::stdout(), format_args!("{} files, {documents} documents\n", files.len()))
}

fn find(folder: &Path) -> Vec<PathBuf> {
    let found = Mutex::new(Vec::new());
    let walk = WalkBuilder::new(folder)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .threads(rayon::current_num_threads())
        .build_parallel();
    walk.run(|| {
        Box::new(|entry| {
            if let Ok(entry) = entry
                && entry.file_type().is_some_and(|kind| kind.is_file())
                && entry
                    .path()
                    .extension()
                    .is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json")
            {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(entry.into_path());
            }
            WalkState::Continue
        })
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The number of documents in a file.
fn parse(path: &Path) -> io::Result<usize> {
    let text = fs::read_to_string(path)?;
    let documents = yaml::parse(&text, &Limits::default());
    documents.map(|documents| documents.len()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
