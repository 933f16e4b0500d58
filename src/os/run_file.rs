//! What a process tells of itself: a small text file under /run, and a lock that says whether it still lives.
//!
//! Nobody connects to anything, so there is nothing to attack. The file is made anew by each process, locked, and put
//! in the place of the last one's by rename(2): whoever may read the old one, and holds a lock on it, is in nobody's way. The
//! kernel drops the lock with the process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Exit, Result};

/// The longest text, bytes. The sandbox lets no file grow beyond it, and it is one page of a tmpfs: once that is there no
/// write can fail for want of space.
pub const SIZE: usize = 4096;

/// More files than this are not looked at.
const MOST: usize = 4096;

/// The file of this process, locked.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    length: usize,
}

impl RunFile {
    /// Makes the file `name` in `folder`, and the folder if only that is missing. Returns what the last process left
    /// there, up to [`SIZE`] bytes, not judged.
    ///
    /// Needs the right to write there; later writes need nothing. Fails where a living process has the name.
    pub fn create(folder: &Path, name: &str) -> Result<(Self, Vec<u8>)> {
        let fail =
            |e: io::Error| Error::new(Exit::CannotCreate, format!("make {}/{name}", folder.display()), e);
        let directory = open_folder(folder)?;
        let earlier = match open_existing(&directory, name) {
            Ok(file) if is_locked(&file) => {
                let act = format!("make {}/{name}", folder.display());
                return Err(Error::new(Exit::TempFail, act, "a living process has it"));
            }
            // A link, a FIFO and the like are replaced.
            Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => read(&file).unwrap_or_default(),
            _ => Vec::new(),
        };
        let fresh = format!(".{name}.{}", std::process::id());
        let file = create_new(&directory, &fresh).map_err(fail)?;
        let ready = prepare(&file, &earlier)
            .and_then(|()| Ok(renameat(&directory, fresh.as_str(), &directory, name)?));
        if let Err(cause) = ready {
            let _ = unlinkat(&directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(fail(cause));
        }
        let length = earlier.len();
        Ok((Self { file, length }, earlier))
    }

    /// Replaces the text by another of [`SIZE`] bytes at most, with one pwrite(2). A reader can see a half of each: the
    /// text has to tell.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let text = text.get(..SIZE).unwrap_or(text);
        self.file.write_all_at(text, 0)?;
        if text.len() < self.length {
            self.file.set_len(text.len() as u64)?;
        }
        self.length = text.len();
        Ok(())
    }
}

/// A file that some process left or keeps.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in the folder.
    pub name: String,
    /// What it holds, up to [`SIZE`] bytes, not judged.
    pub text: Vec<u8>,
    /// Its process lives.
    pub alive: bool,
    /// The user it belongs to.
    pub owner: u32,
}

/// The plain files of `folder`, in the order of their names, if `trusted` accepts name and owner. What cannot be read is left out, links
/// and FIFOs too. Empty where there is no folder, or none that may be read.
pub fn list(folder: &Path, trusted: impl Fn(&str, u32) -> bool) -> Vec<Found> {
    let Ok(directory) = open_directory(folder) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(MOST).collect();
    names.sort_unstable();
    names.into_iter().filter_map(|name| look(&directory, name, &trusted)).collect()
}

/// The user to whom `folder` belongs, who can put there what he likes anyway.
pub fn owner(folder: &Path) -> Option<u32> {
    std::fs::symlink_metadata(folder).ok().map(|meta| meta.uid())
}

fn look(directory: &File, name: String, trusted: impl Fn(&str, u32) -> bool) -> Option<Found> {
    let file = open_existing(directory, &name).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || !trusted(&name, meta.uid()) {
        return None;
    }
    // Of the two, the lock is looked at first: who ends in between has said so in the text.
    let alive = is_locked(&file);
    let text = read(&file).ok()?;
    Some(Found { name, text, alive, owner: meta.uid() })
}

fn open_folder(folder: &Path) -> Result<File> {
    let fail = |e: io::Error| Error::new(Exit::CannotCreate, format!("use {}", folder.display()), e);
    let directory = match open_directory(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_folder(folder).map_err(fail)?;
            open_directory(folder)
        }
        opened => opened,
    };
    let directory = directory.map_err(fail)?;
    if directory.metadata().map_err(fail)?.mode() & 0o022 != 0 {
        let act = format!("use {}", folder.display());
        return Err(Error::new(Exit::NoPermission, act, "others may write there").advise("chmod 755"));
    }
    Ok(directory)
}

/// For everybody to read, whatever the umask of the super-server is.
fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| std::fs::set_permissions(folder, Permissions::from_mode(0o755))),
    }
}

fn open_directory(folder: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(folder)
}

/// O_NONBLOCK: a FIFO in this place must not hold anybody; it means nothing to a plain file.
fn open_existing(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?.into())
}

fn create_new(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(directory, name, flags, Mode::from_bits_truncate(0o644));
    let opened = match open() {
        // Of a process with our number that was killed between making and renaming it.
        Err(Errno::EEXIST) => {
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
            open()
        }
        opened => opened,
    };
    Ok(opened?.into())
}

fn prepare(file: &File, earlier: &[u8]) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o644))?;
    nix::fcntl::fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK)))?;
    file.write_all_at(earlier, 0)
}

/// Whether a process that may write the file has it locked. Others can only hold a lock for reading, which is not asked
/// about.
fn is_locked(file: &File) -> bool {
    let mut lock = whole(libc::F_RDLCK);
    let asked = nix::fcntl::fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

/// A lock of open file descriptions on a whole file (fcntl_locking(2)).
fn whole(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = vec![0; SIZE];
    let mut length = 0;
    while length < SIZE {
        match file.read_at(&mut text[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("naptun-run-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
        fn folder(&self) -> PathBuf {
            self.0.join("naptun")
        }
        fn list(&self) -> Vec<(String, String, bool)> {
            let found = list(&self.folder(), |_, _| true);
            found.into_iter().map(|it| (it.name, String::from_utf8(it.text).unwrap(), it.alive)).collect()
        }
        fn create(&self, name: &str) -> Result<(RunFile, Vec<u8>)> {
            // A process that another test forks has the descriptor, and the lock, until it executes or ends.
            let start = std::time::Instant::now();
            loop {
                match RunFile::create(&self.folder(), name) {
                    Err(e) if e.exit() == Exit::TempFail && start.elapsed().as_secs() < 5 => {
                        std::thread::sleep(std::time::Duration::from_millis(10));
                    }
                    created => return created,
                }
            }
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn entry(name: &str, text: &str, alive: bool) -> (String, String, bool) {
        (name.to_owned(), text.to_owned(), alive)
    }

    #[test]
    fn what_was_written_last_is_there_and_the_lock_goes_with_the_file() {
        let place = Place::new("last");
        assert_eq!(place.list(), []);
        let (mut file, earlier) = place.create("one").unwrap();
        assert_eq!(earlier, b"");
        assert_eq!(place.list(), [entry("one", "", true)]);
        file.write(b"a long text\n").unwrap();
        file.write(b"short\n").unwrap();
        assert_eq!(place.list(), [entry("one", "short\n", true)]);
        drop(file);
        let start = std::time::Instant::now();
        while place.list() != [entry("one", "short\n", false)] {
            assert!(start.elapsed().as_secs() < 5);
        }
    }

    #[test]
    fn the_next_process_sees_what_the_last_one_left_and_replaces_it_in_one_piece() {
        let place = Place::new("next");
        let (mut file, _) = place.create("one").unwrap();
        file.write(b"first\n").unwrap();
        drop(file);
        let reader = File::open(place.folder().join("one")).unwrap();
        nix::fcntl::fcntl(&reader, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).unwrap();
        let (mut file, earlier) = place.create("one").unwrap();
        assert_eq!(earlier, b"first\n");
        assert_eq!(place.list(), [entry("one", "first\n", true)], "until the new one has something to say");
        file.write(b"second\n").unwrap();
        assert_eq!(read(&reader).unwrap(), b"first\n", "another file");
        assert_eq!(place.list(), [entry("one", "second\n", true)]);
    }

    #[test]
    fn a_living_process_keeps_its_name() {
        let place = Place::new("taken");
        let (_file, _) = place.create("one").unwrap();
        let error = RunFile::create(&place.folder(), "one").unwrap_err();
        assert!(error.to_string().ends_with("a living process has it"), "{error}");
        assert_eq!(std::fs::read_dir(place.folder()).unwrap().count(), 1, "nothing is left lying around");
    }

    #[test]
    fn the_folder_and_the_file_can_be_read_by_all_and_written_by_one() {
        let place = Place::new("mode");
        let (_file, _) = place.create("one").unwrap();
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(place.folder()), mode(place.folder().join("one"))), (0o755, 0o644));
        std::fs::set_permissions(place.folder(), Permissions::from_mode(0o777)).unwrap();
        let error = RunFile::create(&place.folder(), "two").unwrap_err();
        assert!(error.to_string().ends_with("others may write there; chmod 755"), "{error}");
    }

    #[test]
    fn links_fifos_folders_and_files_of_other_users_are_not_read_and_are_replaced() {
        let place = Place::new("hostile");
        let (_file, _) = place.create("one").unwrap();
        let folder = place.folder();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
        nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        std::fs::write(folder.join(".hidden"), "x").unwrap();
        assert_eq!(place.list(), [entry("one", "", true)]);
        assert_eq!(list(&folder, |_, _| false), []);
        let (mut file, earlier) = place.create("link").unwrap();
        assert_eq!(earlier, b"");
        file.write(b"mine\n").unwrap();
        assert!(!std::fs::read_to_string("/etc/passwd").unwrap().contains("mine"));
        let (_file, earlier) = place.create("fifo").unwrap();
        assert_eq!(earlier, b"");
        assert_eq!(place.list().len(), 3);
    }

    #[test]
    fn no_more_than_a_page_is_read_or_written() {
        let place = Place::new("size");
        let (mut file, _) = place.create("one").unwrap();
        file.write(&[b'x'; 3 * SIZE]).unwrap();
        assert_eq!(place.list()[0].1.len(), SIZE);
        std::fs::write(place.folder().join("two"), vec![b'y'; 1 << 20]).unwrap();
        assert_eq!(place.list()[1].1.len(), SIZE);
    }
}
