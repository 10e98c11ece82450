//! Who this agent is: which boot, and which Node object, by the claims of its own token.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The id of this boot (random(4)).
///
/// # Errors
/// The kernel does not say.
pub fn boot_id() -> Result<String> {
    let text = fs::read_to_string(Path::new(BOOT_ID)).with_context(|| format!("cannot read {BOOT_ID}"))?;
    Ok(text.trim().to_owned())
}

/// The UID of the Node that a service account token is bound to (`kubernetes.io.node.uid`). The token is not verified: the
/// API server does that; here it only tells whose placements are remembered.
pub fn node_uid(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(claims.pointer("/kubernetes.io/node/uid")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_read_from_the_tokens_claims() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"kubernetes.io":{"node":{"name":"rs1","uid":"u-1"}}}"#);
        assert_eq!(node_uid(&format!("e30.{claims}.c2ln")).as_deref(), Some("u-1"));
    }

    #[test]
    fn a_token_without_a_node_says_nothing() {
        for token in ["", "a.b", "e30.e30.x", "no token at all"] {
            assert_eq!(node_uid(token), None);
        }
    }
}
