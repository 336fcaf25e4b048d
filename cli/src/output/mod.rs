//! Files that commands write. Nothing else in this crate opens, creates, renames or removes a file.
//!
//! Commands run in pipelines, on files that a merge request wrote. A link among those files must not decide which file a
//! command writes. So:
//!
//! - [`Trees`] knows which folders hold such files: the current folder, the folders that the user named, every git checkout.
//! - [`Folder`] is an open folder. What is made, read, replaced or removed in it is named by one component, and no link is
//!   followed.
//! - [`FilePlace`] is the place of one file that the user named, or that was found below a folder that the user named.
//!
//! A path is resolved component by component. Below a tree no component may be a link. Elsewhere folders may be links, which
//! the user's system has, and the last component may not be one. A file is written beside its place and renamed, so a reader
//! sees the old file or the new one, and another hard link to the old file keeps the old text.

mod file;
mod folder;
mod trees;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use file::FilePlace;
pub use folder::Folder;
pub use trees::Trees;

/// Why nothing was written. What was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A component of the path is a link.
    #[error(
        "cannot write {}: {}; a link could lead out of the folder, so none is followed: remove it, or name the place that it leads to",
        file.display(),
        is_link(file, link)
    )]
    Link {
        /// What was to be written.
        file: PathBuf,
        /// The component, with the path up to it.
        link: PathBuf,
    },
    /// Something else than a file has the name.
    #[error("cannot write {}: there is {what}, and only a file is replaced; remove it, or choose another name", file.display())]
    NotAFile {
        /// What was to be written.
        file: PathBuf,
        /// "a folder", "a named pipe".
        what: &'static str,
    },
    /// Something else than a folder is on the way.
    #[error("cannot write {}: {} is not a folder", file.display(), component.display())]
    NotAFolder {
        /// What was to be written.
        file: PathBuf,
        /// The component, with the path up to it.
        component: PathBuf,
    },
    /// A folder on the way does not exist.
    #[error("cannot write {}: there is no folder {}", file.display(), folder.display())]
    NoFolder {
        /// What was to be written.
        file: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// A name with a separator in it, or one that means a folder.
    #[error("cannot write {}: this is not the name of a file", file.display())]
    NotAName {
        /// What was to be written.
        file: PathBuf,
    },
    /// What the system says.
    #[error("cannot write {}", file.display())]
    Io {
        /// What was to be written.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn is_link(file: &Path, link: &Path) -> String {
    if file == link { "it is a link".to_owned() } else { format!("{} is a link", link.display()) }
}

impl OutputError {
    fn io(file: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { file: file.to_owned(), source: source.into() }
    }
}
