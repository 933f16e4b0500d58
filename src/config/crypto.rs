//! Directives of the key and the ciphers.

use zeroize::Zeroizing;

use super::draft::Draft;
use super::grammar::Statement;
use super::problem::{Fault, shown};
use super::settings::{Ciphers, Secret};

type Applied = Result<(), Fault>;
/// Why parameters are refused, and what to do instead.
type Refusal = Option<(&'static str, &'static str)>;

/// Said wherever a direction is given: here it decides nothing.
pub(super) const DIRECTION: &str = "each direction has a key of its own here, derived on both ends alike";
const COMPRESSION: &str = "compression under encryption leaks what is encrypted, through its length";
const NO_NULL: &str = "there is no null cipher, every packet is encrypted and authenticated";

pub(super) fn secret(draft: &mut Draft, statement: &Statement) -> Applied {
    if let Some(text) = &statement.inline {
        draft.secret = Some(Secret::Inline(Zeroizing::clone(text)));
        return Ok(());
    }
    match statement.param(2) {
        None => {}
        Some("0" | "1") => draft.notice(&statement.place, "secret", DIRECTION),
        Some(word) => {
            let word = if word.len() > 2 { "" } else { word };
            return Err(Fault::new(
                word,
                "the second word is no key direction",
                "expected 0 or 1, or nothing",
            ));
        }
    }
    draft.secret = Some(Secret::File(draft.path(statement.param(1).unwrap_or_default())?));
    Ok(())
}

pub(super) fn cipher(draft: &mut Draft, statement: &Statement) -> Applied {
    if let Some(ciphers) = ciphers(draft, statement)? {
        draft.cipher = Some(ciphers);
    }
    Ok(())
}

pub(super) fn data_ciphers(draft: &mut Draft, statement: &Statement) -> Applied {
    if let Some(ciphers) = ciphers(draft, statement)? {
        draft.data_ciphers = Some(ciphers);
    }
    Ok(())
}

pub(super) fn replay_persist(draft: &mut Draft, statement: &Statement) -> Applied {
    draft.settings.replay_persist = Some(draft.path(statement.param(1).unwrap_or_default())?);
    Ok(())
}

/// `auth none` and the like.
pub(super) fn refuse_none(params: &[String]) -> Refusal {
    let none = params.iter().flat_map(|list| list.split(':')).any(|name| name.eq_ignore_ascii_case("none"));
    none.then_some((NO_NULL, "remove it"))
}

/// `comp-lzo no` is the only form that does not compress.
pub(super) fn refuse_comp_lzo(params: &[String]) -> Refusal {
    (params.first().map(String::as_str) != Some("no"))
        .then_some((COMPRESSION, "remove it, or write comp-lzo no"))
}

/// `compress` compresses with an algorithm only.
pub(super) fn refuse_compress(params: &[String]) -> Refusal {
    match params.first().map(String::as_str) {
        None | Some("stub" | "stub-v2" | "migrate") => None,
        Some(_) => Some((COMPRESSION, "remove it")),
    }
}

/// `allow-compression no` forbids what does not exist.
pub(super) fn refuse_allow_compression(params: &[String]) -> Refusal {
    (params.first().map(String::as_str) != Some("no")).then_some((COMPRESSION, "remove it"))
}

/// Those of a colon list that exist here; `None`, with a notice, if none does.
fn ciphers(draft: &mut Draft, statement: &Statement) -> Result<Option<Ciphers>, Fault> {
    if refuse_none(statement.params()).is_some() {
        let expected = "expected AES-256-GCM, CHACHA20-POLY1305, or both with a colon between";
        return Err(Fault::new("none", NO_NULL, expected));
    }
    let mut ciphers = Ciphers { aes_256_gcm: false, chacha20_poly1305: false };
    let mut others = Vec::new();
    for name in statement.param(1).unwrap_or_default().split(':') {
        // OpenVPN 2.6 marks with `?` what may be missing.
        match name.trim_start_matches('?').to_ascii_uppercase().as_str() {
            "AES-256-GCM" => ciphers.aes_256_gcm = true,
            "CHACHA20-POLY1305" => ciphers.chacha20_poly1305 = true,
            "DEFAULT" => ciphers = Ciphers { aes_256_gcm: true, chacha20_poly1305: true },
            other => others.push(shown(other)),
        }
    }
    if !others.is_empty() {
        let text =
            format!("{} not used: the ciphers here are AES-256-GCM and CHACHA20-POLY1305", others.join(", "));
        draft.notice(&statement.place, statement.name(), &text);
    }
    Ok(Some(ciphers).filter(|ciphers| ciphers.aes_256_gcm || ciphers.chacha20_poly1305))
}

/// Settles the ciphers and the key.
pub(super) fn finish(draft: &mut Draft) {
    if let Some(ciphers) = draft.data_ciphers.or(draft.cipher) {
        draft.settings.ciphers = ciphers;
    }
    if let Some(secret) = draft.secret.take() {
        draft.settings.secret = secret;
    }
}
