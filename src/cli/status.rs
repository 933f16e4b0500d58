//! `naptun status`.

use std::path::PathBuf;

use argh::FromArgs;

use super::{Early, Parsed, usage};
use crate::report::{Form, Request};

/// Show what every tunnel does.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct Status {
    /// the folder of the configurations, /etc/naptun if it is not given
    #[argh(option, arg_name = "dir")]
    cd: Option<String>,

    /// again every second, until ctrl-C
    #[argh(switch)]
    watch: bool,

    /// one JSON object in one line
    #[argh(switch)]
    json: bool,

    /// the text format of Prometheus
    #[argh(switch)]
    prometheus: bool,

    /// names of tunnels; all if there are none
    #[argh(positional, arg_name = "name")]
    names: Vec<String>,
}

impl Status {
    pub(super) fn request(self) -> Result<Parsed, Early> {
        let form = match (self.json, self.prometheus) {
            (true, true) => {
                return Err(usage(
                    "status: --json and --prometheus contradict each other; remove one of the two",
                ));
            }
            (_, true) if self.watch => {
                return Err(usage("status: --prometheus is one text; --watch is for people and --json"));
            }
            (true, _) => Form::Json,
            (_, true) => Form::Prometheus,
            _ => Form::Table,
        };
        let cd = self.cd.map(PathBuf::from);
        Ok(Parsed::Status(Request { cd, names: self.names, form, watch: self.watch }))
    }
}
