//! The way to the peer stays outside of a tunnel that takes all traffic (`redirect-gateway`), wherever the peer goes.

use std::net::IpAddr;

use super::Tunnel;
use crate::os::helper::Helper;

/// Who keeps the way, and to whom it leads.
pub(super) struct Outside {
    helper: Option<Helper>,
    toward: Option<IpAddr>,
    /// Why there is no way, as it was last told.
    told: Option<String>,
}

impl Outside {
    pub(super) fn new(helper: Option<Helper>) -> Self {
        Self { helper, toward: None, told: None }
    }
}

impl Tunnel {
    /// The root helper, for what only root may do.
    pub fn helper(&mut self) -> Option<&mut Helper> {
        self.outside.helper.as_mut()
    }

    /// The session has gone to this address by itself.
    pub(super) fn follow(&mut self, peer: IpAddr) {
        if self.outside.toward != Some(peer) {
            self.lead(peer);
        }
    }

    /// This host's own networks have changed, and so may have its way to the peer.
    pub(super) fn lead_again(&mut self) {
        if let Some(path) = self.session.path() {
            self.lead(path.remote.ip());
        }
    }

    /// The peer is called there next; the way is looked for even if it leads to the same address.
    ///
    /// Waits for the helper: what is sent before it is done would go into the tunnel. What fails is told once as long as it
    /// is the same.
    pub(super) fn lead(&mut self, peer: IpAddr) {
        let Some(helper) = self.outside.helper.as_mut().filter(|helper| helper.leads()) else { return };
        // Without a device there is nothing to stay outside of.
        if self.device.is_none() {
            return;
        }
        self.outside.toward = Some(peer);
        match helper.lead(peer).map_err(|error| error.to_string()) {
            Ok(()) => self.outside.told = None,
            Err(error) if self.outside.told.as_ref() == Some(&error) => {}
            Err(error) => {
                log::warn!("{error}");
                self.outside.told = Some(error);
            }
        }
    }
}
