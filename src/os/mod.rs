//! The system: every call to it, and all the unsafe code there is. Knows nothing of protocol, packets or directives.

pub mod answer;
pub mod background;
mod child;
pub mod clock;
pub mod descriptors;
pub mod device;
pub mod doorkeeper;
pub mod helper;
pub mod holder;
pub mod hosts;
pub mod netlink;
pub mod path;
pub mod privileges;
pub mod redirect;
pub mod resolver;
pub mod route;
pub mod run_file;
pub mod sandbox;
pub mod script;
pub mod signals;
pub mod state_file;
pub mod terminal;
pub mod udp;
pub mod watch;
pub mod wiping;
