//! The folder of a tunnel, whole or not at all.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::texts::{self, Mode, Text};
use super::tunnel::Tunnel;
use crate::config::key::{self, KEY_BYTES};
use crate::error::{Error, Exit};
use crate::os::signals::Signals;

/// Writes `OUT/NAME/MON/` and `OUT/NAME/FRI/`, under another name first: the folder appears complete.
pub(super) fn write(tunnel: &Tunnel) -> Result<(), Error> {
    let folder = tunnel.folder();
    let act = || format!("make {}", folder.display());
    if folder.symlink_metadata().is_ok() {
        let error = Error::new(Exit::CannotCreate, act(), "it is there already");
        return Err(error.advise("move it away: it may hold the only copy of a key"));
    }
    // From here on ctrl-C waits for what can still be taken back.
    let signals = Signals::open()?;
    let draft = Draft::new(tunnel)?;
    fill(tunnel, &draft.0)?;
    if let Some(signal) = signals.next() {
        return Err(Error::new(Exit::CannotCreate, act(), format!("ended by {}", signal.name())));
    }
    rename(&draft.0, &folder).map_err(|cause| Error::new(Exit::CannotCreate, act(), cause))
}

/// Never over a folder that came meanwhile: rename(2) replaces an empty one.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

/// A folder that is removed again, unless it was renamed.
struct Draft(PathBuf);

impl Draft {
    fn new(tunnel: &Tunnel) -> Result<Self, Error> {
        let path = tunnel.out.join(format!(".{}.{}", tunnel.name, std::process::id()));
        make(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing of that name.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(tunnel: &Tunnel, folder: &Path) -> Result<(), Error> {
    let mut random = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *random).map_err(|cause| Error::new(Exit::Os, "read random numbers", cause))?;
    let key = key::generate(&random);
    for (end, texts) in [(&tunnel.listener, texts::listener(tunnel)), (&tunnel.caller, texts::caller(tunnel))]
    {
        let folder = folder.join(&end.tag);
        make(&folder)?;
        key::write_new(&folder.join(format!("{}.key", tunnel.name)), &key)?;
        texts.iter().try_for_each(|text| write_text(&folder, text))?;
    }
    Ok(())
}

/// For the owner alone: there is a key in it.
fn make(folder: &Path) -> Result<(), Error> {
    let fail = |cause| Error::new(Exit::CannotCreate, format!("make folder {}", folder.display()), cause);
    DirBuilder::new().mode(0o700).create(folder).map_err(fail)
}

fn write_text(folder: &Path, text: &Text) -> Result<(), Error> {
    let path = folder.join(&text.name);
    let mode = match text.mode {
        Mode::Plain => 0o644,
        Mode::Program => 0o755,
    };
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).and_then(|mut file| {
            file.write_all(text.text.as_bytes())?;
            // Whatever the umask is: it is copied as it is.
            file.set_permissions(fs::Permissions::from_mode(mode))
        });
    written.map_err(|cause| Error::new(Exit::CannotCreate, format!("create {}", path.display()), cause))
}
