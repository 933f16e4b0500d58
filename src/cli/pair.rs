//! The words of `naptun pair`.

use argh::FromArgs;

use crate::pair::Wish;

/// Make both ends of a new tunnel: two folders with configuration, key, service and an install script.
// The comments are the text of --help; what looks like a link there is a parameter.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "pair", note = "naptun pair mon fri --address 192.0.2.1 --network 192.168.1.0/24")]
pub(super) struct Pair {
    /// outer address or name of the listener
    #[argh(option, arg_name = "addr")]
    address: Option<String>,

    /// service of the port; the next free one of services.fragment by default
    #[argh(option, arg_name = "name")]
    service: Option<String>,

    /// port, where it is to have no name
    #[argh(option, arg_name = "port")]
    port: Option<String>,

    /// who holds the port: xinetd, systemd or inetd
    #[argh(option, arg_name = "program")]
    launcher: Option<String>,

    /// carry ethernet frames instead of packets
    #[argh(switch)]
    tap: bool,

    /// join the ethernet behind an interface of the listener; word: [interface]
    #[argh(option, arg_name = "interface")]
    bridge: Option<String>,

    /// network behind the listener, as 192.168.1.0/24; may be repeated
    #[argh(option, arg_name = "net/bits")]
    network: Vec<String>,

    /// network behind the caller; may be repeated
    #[argh(option, arg_name = "net/bits")]
    caller_network: Vec<String>,

    /// address of the caller in the bridged network
    #[argh(option, arg_name = "addr")]
    caller_address: Option<String>,

    /// folder to make the tunnel's folder in
    #[argh(option, arg_name = "dir")]
    out: Option<String>,

    /// host that waits
    #[argh(positional)]
    listener: String,

    /// host that calls
    #[argh(positional)]
    caller: String,
}

impl Pair {
    pub(super) fn wish(self) -> Wish {
        Wish {
            listener: self.listener,
            caller: self.caller,
            address: self.address,
            service: self.service,
            port: self.port,
            launcher: self.launcher,
            tap: self.tap,
            bridge: self.bridge,
            networks: self.network,
            caller_networks: self.caller_network,
            caller_address: self.caller_address,
            out: self.out,
        }
    }
}

/// The words, with an empty one behind a `--bridge` that names no interface. The hosts stand first, so that a word behind
/// `--bridge` is never one of them.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    let mut given = Vec::new();
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        given.push((*word).to_owned());
        if *word == "--bridge" && rest.peek().is_none_or(|next| next.starts_with('-')) {
            given.push(String::new());
        }
    }
    given
}
