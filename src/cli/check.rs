//! `naptun check`.

use std::path::PathBuf;

use argh::FromArgs;

use super::{Early, Parsed, usage};
use crate::doctor::Request;

/// Find everything that is wrong with tunnels: their files, one against the other, and against this host.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "check")]
pub(super) struct Check {
    /// where file names start: absolute, without . and ..; without a file, every *.conf there
    #[argh(option, arg_name = "dir")]
    cd: Option<String>,

    /// look at the files alone, not at this host
    #[argh(switch)]
    files_only: bool,

    /// say of each directive of this OpenVPN configuration what becomes of it
    #[argh(option, arg_name = "file")]
    openvpn: Vec<String>,

    /// configuration files
    #[argh(positional, arg_name = "file")]
    files: Vec<String>,
}

impl Check {
    pub(super) fn request(self) -> Result<Parsed, Early> {
        if self.files.is_empty() && self.openvpn.is_empty() && self.cd.is_none() {
            return Err(usage("check: names no file; expected naptun check [--cd DIR] [FILE...]"));
        }
        Ok(Parsed::Check(Request {
            cd: self.cd.map(PathBuf::from),
            files: self.files.into_iter().map(PathBuf::from).collect(),
            openvpn: self.openvpn.into_iter().map(PathBuf::from).collect(),
            files_only: self.files_only,
        }))
    }
}
