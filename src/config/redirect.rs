//! `redirect-gateway` and `redirect-private`: all traffic through the tunnel, but the tunnel itself.

use super::draft::Draft;
use super::grammar::Statement;
use super::problem::Fault;
use super::settings::{DeviceType, Redirect};

type Applied = Result<(), Fault>;

pub(super) fn redirect_gateway(draft: &mut Draft, statement: &Statement) -> Applied {
    redirect(draft, statement)?;
    let all = draft.settings.redirect.get_or_insert_default();
    let without_ipv4 = statement.params().iter().any(|word| word == "!ipv4");
    all.ipv4 |= !without_ipv4;
    if !statement.params().iter().any(|word| word == "def1") {
        let how = "done as with def1: the default route stays, and two longer ones win";
        draft.notice(&statement.place, "redirect-gateway", how);
    }
    Ok(())
}

/// The way to the peer is kept, and nothing else is redirected.
pub(super) fn redirect_private(draft: &mut Draft, statement: &Statement) -> Applied {
    redirect(draft, statement)?;
    if let Some(redirect) = &mut draft.settings.redirect {
        redirect.ipv6 = false;
    }
    Ok(())
}

/// What both have in common. Several lines add up, as in OpenVPN.
fn redirect(draft: &mut Draft, statement: &Statement) -> Applied {
    let mut redirect = draft.settings.redirect.take().unwrap_or_default();
    for word in statement.params() {
        match word.as_str() {
            // A peer on a network of this host is noticed without being told.
            "def1" | "autolocal" | "!ipv4" => {}
            "local" => redirect.local = true,
            "ipv6" => redirect.ipv6 = true,
            "block-local" => redirect.block_local = true,
            "bypass-dns" => redirect.bypass_dns = true,
            "bypass-dhcp" => {
                let why = "bypass-dhcp: without effect, as on Linux in OpenVPN: networks that this host is connected \
                           to are reached past the tunnel";
                draft.notice(&statement.place, statement.name(), why);
            }
            word => {
                let expected =
                    "expected def1, local, autolocal, bypass-dhcp, bypass-dns, block-local, ipv6 or !ipv4";
                return Err(Fault::new(word, "is no flag of it", expected));
            }
        }
    }
    draft.settings.redirect = Some(redirect);
    Ok(())
}

/// The tunnel must be able to carry what is sent into it.
pub(super) fn finish(draft: &mut Draft) {
    let settings = &draft.settings;
    let Some(redirect) = settings.redirect.clone() else { return };
    if settings.route_noexec || draft.dev.is_none() || !(redirect.ipv4 || redirect.ipv6) {
        return;
    }
    let tap = settings.device_type == DeviceType::Tap;
    let gateway_ipv6 = draft.route_ipv6_gateway.or(settings.ifconfig_ipv6.map(|six| six.remote));
    let addressed = settings.ifconfig_ipv6.is_some() || settings.ifconfig_noexec;
    let lost = if redirect.ipv4 && tap && settings.route_gateway.is_none() {
        Some(("", "on tap nothing says what the gateway is", "add route-gateway ADDRESS"))
    } else if redirect.ipv6 && !addressed {
        // Without an address in the tunnel it would leave with one that the far side cannot answer.
        Some(("ipv6", "the tunnel has no IPv6 address", "add ifconfig-ipv6, or remove it"))
    } else if redirect.ipv6 && tap && gateway_ipv6.is_none() {
        Some(("ipv6", "on tap nothing says what the gateway is", "add route-ipv6-gateway ADDRESS"))
    } else {
        None
    };
    if let Some((word, cause, expected)) = lost {
        return draft.fault("redirect-gateway", Fault::new(word, cause, expected));
    }
    if let Some(redirect) = &mut draft.settings.redirect {
        redirect.gateway_ipv6 = gateway_ipv6.filter(|_| tap);
    }
    warn(draft, &redirect);
}

/// What goes past the tunnel all the same, where that may not be meant.
fn warn(draft: &mut Draft, redirect: &Redirect) {
    let Some(place) = draft.place("redirect-gateway").cloned() else { return };
    if !redirect.ipv6 {
        let how = "IPv6 goes past the tunnel; the flag ipv6, with ifconfig-ipv6, takes it in";
        draft.notice(&place, "redirect-gateway", how);
    }
    // The way to the peer is kept wherever it is followed to, for all that this host sends there.
    let followed = draft.settings.float || draft.remotes.is_empty();
    if followed && !redirect.local {
        let how = "the peer is followed to any address: whoever is on the path to it can have one address of his choice \
                   reached past the tunnel; remote without float prevents that";
        draft.notice(&place, "redirect-gateway", how);
    }
}
