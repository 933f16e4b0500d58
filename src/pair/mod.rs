//! `naptun pair`: both ends of a new tunnel, made on one host, with all that each end needs.
//!
//! [`Wanted`] is what was asked for, once it makes sense; [`Seen`] what this host shows; [`choose()`] makes a [`Tunnel`] of
//! both, without asking the system again; `texts` and `write` turn that into two folders, and `report` says what is left
//! to do.

mod bridge;
mod choose;
mod inner;
mod interfaces;
mod report;
mod seen;
mod service;
mod texts;
mod tunnel;
mod wanted;
mod write;

pub use choose::choose;
pub use seen::Seen;
pub use tunnel::Tunnel;
pub use wanted::{Wanted, Wish};

use crate::error::{Error, Exit};

/// Makes the folders of a tunnel. Gives what to print: what was made, and the commands that are left to do.
///
/// # Errors
/// Everything that is wrong with the wish (`EX_USAGE`), or why the folder cannot be made (`EX_CANTCREAT`); at least one.
/// Nothing is left behind then.
pub fn pair(wish: &Wish) -> Result<String, Vec<Error>> {
    let wanted = Wanted::new(wish)?;
    let seen = Seen::look(&wanted.listener);
    let mut random = [0; inner::RANDOM];
    getrandom::fill(&mut random).map_err(|cause| vec![Error::new(Exit::Os, "read random numbers", cause)])?;
    let tunnel = choose(&wanted, &seen, random)?;
    write::write(&tunnel).map_err(|error| vec![error])?;
    Ok(report::report(&tunnel))
}
