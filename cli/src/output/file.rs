//! The place of one file that the user named.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, Write},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::{
    Folder, OutputError, Trees,
    folder::{Entry, not_a_file},
};

/// Where a file is written: looked at once, so that what must not be written is found before the work begins.
#[derive(Debug)]
pub struct FilePlace {
    /// As the user gave it.
    file: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A file, which is there or not.
    File { folder: Folder, name: OsString },
    /// A pipe or a device outside every tree, which the user named.
    Stream { folder: Folder, name: OsString },
    /// What the caller opened and handed over, such as `/dev/stdout` and `/dev/fd/63`.
    Descriptor,
}

impl FilePlace {
    /// Looks at the place.
    ///
    /// # Errors
    /// A link, a folder that does not exist, or something else than a file; what the system says.
    pub fn open(file: &Path, trees: &Trees) -> Result<Self, OutputError> {
        let place = |kind| Self { file: file.to_owned(), kind };
        if is_descriptor(file) {
            return Ok(place(Kind::Descriptor));
        }
        let Some(name) = file.file_name() else {
            return Err(not_a_file(file, Entry::Folder));
        };
        let (folder, name) = (Folder::of_file(file, trees)?, name.to_owned());
        match folder.entry(&name)? {
            Entry::Nothing | Entry::File(_) => Ok(place(Kind::File { folder, name })),
            // No file of a repository is one; outside, the user chose it.
            Entry::Stream(_) if !folder.guarded => Ok(place(Kind::Stream { folder, name })),
            found => Err(not_a_file(file, found)),
        }
    }

    /// Writes the file, whole or not at all; a pipe, a device or a descriptor is written to as it is.
    ///
    /// # Errors
    /// There is something else by now; what the system says.
    pub fn write_with(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), OutputError> {
        let fault = |source| OutputError::Io { file: self.file.clone(), source };
        match &self.kind {
            Kind::File { folder, name } => {
                let permissions = match folder.entry(name)? {
                    Entry::Nothing => None,
                    Entry::File(mode) => Some(mode),
                    found => return Err(not_a_file(&self.file, found)),
                };
                folder.replace(name, permissions, fill).map_err(fault)
            }
            Kind::Stream { folder, name } => match folder.entry(name)? {
                Entry::Stream(_) => folder.open_stream(name).and_then(|stream| pour(stream, fill)).map_err(fault),
                found => Err(not_a_file(&self.file, found)),
            },
            Kind::Descriptor => descriptor(&self.file).and_then(|stream| pour(stream, fill)).map_err(fault),
        }
    }

    /// As [`FilePlace::write_with`], with bytes.
    ///
    /// # Errors
    /// As there.
    pub fn write(&self, bytes: &[u8]) -> Result<(), OutputError> {
        self.write_with(|out| out.write_all(bytes))
    }
}

fn pour(file: File, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.flush()
}

const STDOUT: &str = "/dev/stdout";
const STDERR: &str = "/dev/stderr";

/// Whether a path means an open file of this process. The system makes such names links to whatever that is.
fn is_descriptor(path: &Path) -> bool {
    let numbered = ["/dev/fd/", "/proc/self/fd/"].into_iter().any(|folder| {
        path.to_str()
            .and_then(|text| text.strip_prefix(folder))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    numbered || path == Path::new(STDOUT) || path == Path::new(STDERR)
}

fn descriptor(path: &Path) -> io::Result<File> {
    if path == Path::new(STDOUT) {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    if path == Path::new(STDERR) {
        return Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    // A file of the caller's is continued, as a shell's `>&3` does.
    File::options().append(true).open(path)
}
