//! An open folder, and what is done in it without following a link.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::{self, BufWriter, Read as _, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat},
    sys::stat::{Mode, SFlag, fstatat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

use super::{OutputError, Trees};

/// Descriptor of a folder.
pub(super) type Opened = OwnedFd;

/// What has a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Nothing,
    /// A file, with its permissions.
    File(u32),
    Folder,
    Link,
    /// A named pipe or a character device, which take a stream.
    Stream(&'static str),
    Other(&'static str),
}

/// A folder in which files are written. It stays the same folder whatever becomes of its name.
#[derive(Debug)]
pub struct Folder {
    opened: Opened,
    /// For messages.
    path: PathBuf,
    /// In a tree, so that no link below is followed.
    pub(super) guarded: bool,
}

/// Opens a folder below another.
pub(super) fn open_folder(at: impl AsFd, name: &Path, follow: bool) -> nix::Result<Opened> {
    let mut flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    if !follow {
        flags |= OFlag::O_NOFOLLOW;
    }
    // A folder on the way need not be readable.
    #[cfg(target_os = "linux")]
    {
        flags |= OFlag::O_PATH;
    }
    openat(at, name, flags, Mode::empty())
}

impl Folder {
    /// Opens the folder `path`; `None` where a component of it does not exist.
    ///
    /// # Errors
    /// A component is a link that is not followed, or not a folder; what the system says.
    pub fn open(path: &Path, trees: &Trees) -> Result<Option<Self>, OutputError> {
        match Self::walk(path, trees, Missing::Report, Last::Strict) {
            Err(OutputError::NoFolder { .. }) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens the folder `path`, and makes what of it does not exist.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn make(path: &Path, trees: &Trees) -> Result<Self, OutputError> {
        Self::walk(path, trees, Missing::Make, Last::Strict)
    }

    /// Opens the folder that holds the file `path`; outside every tree it may be a link.
    pub(super) fn of_file(path: &Path, trees: &Trees) -> Result<Self, OutputError> {
        Self::walk(path.parent().unwrap_or(Path::new("")), trees, Missing::Report, Last::Folder)
            .map_err(|error| error.about(path))
    }

    fn walk(path: &Path, trees: &Trees, missing: Missing, last: Last) -> Result<Self, OutputError> {
        // Whatever a relative path leads through is named from the current folder.
        let mut guarded = path.is_relative();
        let fault = |errno: Errno| OutputError::io(path, errno);
        let start = if guarded { "." } else { "/" };
        let mut opened = open_folder(AT_FDCWD, Path::new(start), true).map_err(fault)?;
        let mut walked = PathBuf::from(if guarded { "" } else { "/" });
        guarded |= trees.begin_in(&opened);
        let names: Vec<Component<'_>> = path
            .components()
            .filter(|component| !matches!(component, Component::CurDir | Component::RootDir | Component::Prefix(_)))
            .collect();
        for (index, name) in names.iter().enumerate() {
            let name = Path::new(name);
            walked.push(name);
            let is_last = index + 1 == names.len() && last == Last::Strict;
            let linked = entry(&opened, name.as_os_str()).map_err(fault)? == Entry::Link;
            if linked && (guarded || is_last) {
                return Err(OutputError::Link { file: path.to_owned(), link: walked });
            }
            let follow = !guarded && !is_last;
            let next = match (open_folder(&opened, name, follow), missing) {
                (Err(Errno::ENOENT), Missing::Make) if !linked => {
                    make_folder(&opened, name).map_err(fault)?;
                    open_folder(&opened, name, false)
                }
                (next, _) => next,
            };
            opened = next.map_err(|errno| not_opened(&opened, path, &walked, name.as_os_str(), errno))?;
            guarded = guarded || if linked { trees.contain(&opened) } else { trees.begin_in(&opened) };
        }
        Ok(Self { opened, path: path.to_owned(), guarded })
    }

    /// The folder `name` in this one; `None` where there is none.
    ///
    /// # Errors
    /// It is a link, or not a folder; what the system says.
    pub fn folder(&self, name: &OsStr) -> Result<Option<Self>, OutputError> {
        let path = self.named(name)?;
        match open_folder(&self.opened, Path::new(name), false) {
            Ok(opened) => Ok(Some(Self { opened, path, guarded: true })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(not_opened(&self.opened, &path, &path, name, errno)),
        }
    }

    /// The folder `name` in this one, which is made where there is none.
    ///
    /// # Errors
    /// As [`Folder::folder`].
    pub fn make_folder(&self, name: &OsStr) -> Result<Self, OutputError> {
        let path = self.named(name)?;
        make_folder(&self.opened, Path::new(name)).map_err(|errno| OutputError::io(&path, errno))?;
        match self.folder(name)? {
            Some(folder) => Ok(folder),
            None => Err(OutputError::io(&path, Errno::ENOENT)),
        }
    }

    /// Names of everything in it, sorted.
    ///
    /// # Errors
    /// What the system says.
    pub fn names(&self) -> Result<Vec<OsString>, OutputError> {
        let fault = |errno: Errno| OutputError::io(&self.path, errno);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.opened, ".", flags, Mode::empty()).map_err(fault)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = OsStr::from_bytes(entry.map_err(fault)?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The bytes of the file `name`; `None` where there is none.
    ///
    /// # Errors
    /// It is a link, or not a file; what the system says.
    pub fn read(&self, name: &OsStr) -> Result<Option<Vec<u8>>, OutputError> {
        let path = self.named(name)?;
        match self.entry(name)? {
            Entry::Nothing => return Ok(None),
            Entry::File(_) => {}
            found => return Err(not_a_file(&path, found)),
        }
        // Should something else have taken its place meanwhile, opening it must not wait.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fault = |error: io::Error| OutputError::io(&path, error);
        let mut file =
            File::from(openat(&self.opened, name, flags, Mode::empty()).map_err(|errno| fault(errno.into()))?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fault)?;
        Ok(Some(bytes))
    }

    /// Replaces what is in the file `name` by `bytes`, or makes the file. Its permissions stay.
    ///
    /// # Errors
    /// There is something else than a file; what the system says.
    pub fn write(&self, name: &OsStr, bytes: &[u8]) -> Result<(), OutputError> {
        let permissions = self.check(name)?;
        self.replace(name, permissions, |out| out.write_all(bytes))
            .map_err(|error| OutputError::io(&self.path.join(name), error))
    }

    /// Whether the file `name` can be written; the permissions of the file that is there.
    ///
    /// # Errors
    /// There is something else than a file; what the system says.
    pub fn check(&self, name: &OsStr) -> Result<Option<u32>, OutputError> {
        let path = self.named(name)?;
        match self.entry(name)? {
            Entry::Nothing => Ok(None),
            Entry::File(mode) => Ok(Some(mode)),
            found => Err(not_a_file(&path, found)),
        }
    }

    /// Removes the file `name`. A link is removed itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &OsStr) -> Result<(), OutputError> {
        let path = self.named(name)?;
        unlinkat(&self.opened, name, UnlinkatFlags::NoRemoveDir).map_err(|errno| OutputError::io(&path, errno))
    }

    /// Removes the folder `name` if there is nothing in it.
    pub fn remove_empty(&self, name: &OsStr) {
        // Where other files are in it, it stays.
        let _ = unlinkat(&self.opened, name, UnlinkatFlags::RemoveDir);
    }

    pub(super) fn entry(&self, name: &OsStr) -> Result<Entry, OutputError> {
        entry(&self.opened, name).map_err(|errno| OutputError::io(&self.path.join(name), errno))
    }

    /// Opens a pipe or a device for writing.
    pub(super) fn open_stream(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        Ok(File::from(openat(&self.opened, name, flags, Mode::empty())?))
    }

    /// The bytes go into a new file, which reaches the disk before it takes the name.
    pub(super) fn replace(
        &self,
        name: &OsStr,
        permissions: Option<u32>,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        // What any new file gets; the umask takes its part.
        let mode = if permissions.is_some() { 0o600 } else { 0o666 };
        let beside = Beside::make(self.opened.as_fd(), Mode::from_bits_truncate(mode))?;
        let mut out = BufWriter::new(&beside.file);
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        if let Some(mode) = permissions {
            beside.file.set_permissions(Permissions::from_mode(mode))?;
        }
        beside.file.sync_all()?;
        beside.take_name(name)?;
        // The new name is on disk only when the folder is. Where folders cannot be opened or synced the file is in place all
        // the same.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if let Ok(folder) = openat(&self.opened, ".", flags, Mode::empty()) {
            let _ = File::from(folder).sync_all();
        }
        Ok(())
    }

    /// The path of a name that is one component.
    fn named(&self, name: &OsStr) -> Result<PathBuf, OutputError> {
        let path = self.path.join(name);
        let mut components = Path::new(name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(only)), None) if only == name => Ok(path),
            _ => Err(OutputError::NotAName { file: path }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Report,
}

/// What the last component of a walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The output folder: never a link.
    Strict,
    /// The folder of a file.
    Folder,
}

impl OutputError {
    /// The same, said of a file in the folder.
    fn about(self, path: &Path) -> Self {
        let file = path.to_owned();
        match self {
            Self::Link { link, .. } => Self::Link { file, link },
            Self::NotAFile { what, .. } => Self::NotAFile { file, what },
            Self::NotAFolder { component, .. } => Self::NotAFolder { file, component },
            Self::NoFolder { folder, .. } => Self::NoFolder { file, folder },
            Self::NotAName { .. } => Self::NotAName { file },
            Self::Io { source, .. } => Self::Io { file, source },
        }
    }
}

/// What is said of something that is not a file.
pub(super) fn not_a_file(path: &Path, found: Entry) -> OutputError {
    let what = match found {
        Entry::Link => return OutputError::Link { file: path.to_owned(), link: path.to_owned() },
        Entry::Folder => "a folder",
        Entry::Stream(what) | Entry::Other(what) => what,
        Entry::Nothing | Entry::File(_) => "another file",
    };
    OutputError::NotAFile { file: path.to_owned(), what }
}

fn not_opened(at: &Opened, file: &Path, walked: &Path, name: &OsStr, errno: Errno) -> OutputError {
    let file = file.to_owned();
    match (entry(at, name), errno) {
        (Ok(Entry::Link), Errno::ENOTDIR | Errno::ELOOP) => OutputError::Link { file, link: walked.to_owned() },
        (_, Errno::ENOTDIR) => OutputError::NotAFolder { file, component: walked.to_owned() },
        (_, Errno::ENOENT) => OutputError::NoFolder { file, folder: walked.to_owned() },
        (_, errno) => OutputError::io(&file, errno),
    }
}

fn make_folder(at: &Opened, name: &Path) -> nix::Result<()> {
    match mkdirat(at, name, Mode::from_bits_truncate(0o777)) {
        Err(Errno::EEXIST) => Ok(()),
        made => made,
    }
}

#[allow(clippy::useless_conversion, reason = "the widths differ between systems")]
fn entry(at: &Opened, name: &OsStr) -> nix::Result<Entry> {
    let stat = match fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::ENOENT) => return Ok(Entry::Nothing),
        Err(errno) => return Err(errno),
    };
    Ok(match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Entry::File(u32::from(stat.st_mode) & 0o777),
        SFlag::S_IFDIR => Entry::Folder,
        SFlag::S_IFLNK => Entry::Link,
        SFlag::S_IFIFO => Entry::Stream("a named pipe"),
        SFlag::S_IFCHR => Entry::Stream("a device"),
        SFlag::S_IFSOCK => Entry::Other("a socket"),
        _ => Entry::Other("a device"),
    })
}

/// A new file beside the one that it will replace; it goes if it does not.
struct Beside<'f> {
    folder: BorrowedFd<'f>,
    name: String,
    file: File,
    placed: bool,
}

/// Names that are tried for a new file.
const TRIES: usize = 100;

impl<'f> Beside<'f> {
    fn make(folder: BorrowedFd<'f>, mode: Mode) -> io::Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for _ in 0..TRIES {
            let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(10).collect();
            let name = format!(".sluicegate-{random}.tmp");
            match openat(folder, name.as_str(), flags, mode) {
                Ok(opened) => return Ok(Self { folder, name, file: File::from(opened), placed: false }),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EEXIST.into())
    }

    fn take_name(mut self, name: &OsStr) -> io::Result<()> {
        renameat(self.folder, self.name.as_str(), self.folder, name)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // What cannot be removed is a hidden file of no consequence.
            let _ = unlinkat(self.folder, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
