//! The rules for invites that answer a third-party invite: rules 5.3.1 of room versions 1 to 5, 4.3.1 of 6 and 7, 4.4.1
//! of 8 to 11, 5.4.1 of 12.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Map, Value};

use super::{Check, Membership, Refusal, rule::Rule};
use crate::{
    canonical_json::{Members, value_at},
    pdu::Pdu,
};

/// The most pairs of a signature and a key that are tried: each is some 50 µs of work that a peer can ask for.
const TRIES_MAX: usize = 64;

impl Check<'_> {
    /// Whether the rules allow this invite of `target`, whose content has this `third_party_invite`.
    pub(super) fn third_party(&self, target: &str, invite: &Value) -> Result<Rule, Refusal> {
        // .1
        self.reject_if(Rule::ThirdPartyBanned, self.membership(target) == Membership::Ban, || {
            format!("{target} is banned")
        })?;
        // .2
        let signed = invite.get("signed");
        self.reject_if(Rule::ThirdPartyNoSigned, signed.is_none(), || {
            "`third_party_invite` has no `signed`".to_owned()
        })?;
        // .3
        let member = |name| signed.and_then(|signed| signed.get(name));
        let (mxid, token) = (member("mxid"), member("token"));
        self.reject_if(Rule::ThirdPartyNoToken, mxid.is_none() || token.is_none(), || {
            "`third_party_invite.signed` lacks `mxid` or `token`".to_owned()
        })?;
        // .4
        self.reject_if(Rule::ThirdPartyMxid, mxid.and_then(Value::as_str) != Some(target), || {
            format!("`third_party_invite.signed` is not for {target}")
        })?;
        // .5
        let invitation =
            token.and_then(Value::as_str).and_then(|token| self.state.get("m.room.third_party_invite", token));
        self.reject_if(Rule::ThirdPartyNoEvent, invitation.is_none(), || {
            "the state has no `m.room.third_party_invite` event for this token".to_owned()
        })?;
        // .6
        let inviter = invitation.as_ref().map(Pdu::sender);
        self.reject_if(Rule::ThirdPartySender, inviter != Some(self.event.sender()), || {
            "the `m.room.third_party_invite` event was sent by another user".to_owned()
        })?;
        // .7
        let matches = || match (signed.and_then(Value::as_object), &invitation) {
            (Some(signed), Some(invitation)) => {
                any_signature_matches(signed, &signed_bytes(self.event), invitation.content())
            }
            _ => false,
        };
        if self.allows(Rule::ThirdPartySignature, matches()) {
            return Ok(Rule::ThirdPartySignature);
        }
        // .8
        self.otherwise_reject(Rule::ThirdPartyOtherwise, || {
            "no signature in `third_party_invite.signed` is of a key of the `m.room.third_party_invite` event"
                .to_owned()
        })
    }
}

/// What is signed of `third_party_invite.signed`: all but its signatures and `unsigned` (appendices, "Signing JSON"), as it stands in
/// the event.
fn signed_bytes(event: &Pdu) -> Vec<u8> {
    let signed = value_at(event.content_json(), &["third_party_invite", "signed"]).unwrap_or_default();
    let mut bytes = vec![b'{'];
    for member in Members::of(signed).filter(|member| !matches!(member.name, b"signatures" | b"unsigned")) {
        if bytes.len() > 1 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&signed[member.start..member.end]);
    }
    bytes.push(b'}');
    bytes
}

/// Whether any signature in `signed`, by whatever server and key id, is over these bytes and of one of the public keys in
/// `invitation`.
fn any_signature_matches(signed: &Map<String, Value>, bytes: &[u8], invitation: &Map<String, Value>) -> bool {
    let keys: Vec<VerifyingKey> = public_keys(invitation).filter_map(decode_key).collect();
    let signatures = signed.get("signatures").and_then(Value::as_object);
    let signatures = signatures.into_iter().flat_map(Map::values).filter_map(Value::as_object).flatten();
    let signatures = signatures
        .filter(|(key_id, _)| key_id.starts_with("ed25519:"))
        .filter_map(|(_, signature)| decode_signature(signature.as_str()?));

    let pairs = signatures.flat_map(|signature| keys.iter().map(move |key| (signature, key)));
    pairs.take(TRIES_MAX).any(|(signature, key)| key.verify_strict(bytes, &signature).is_ok())
}

/// The keys of an `m.room.third_party_invite` event: `public_key` and those in `public_keys`.
fn public_keys(content: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let listed = content.get("public_keys").and_then(Value::as_array).into_iter().flatten();
    let single = content.get("public_key").into_iter();
    single.chain(listed.filter_map(|key| key.get("public_key"))).filter_map(Value::as_str)
}

fn decode_key(encoded: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = decode_base64(encoded)?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

fn decode_signature(encoded: &str) -> Option<Signature> {
    let bytes: [u8; 64] = decode_base64(encoded)?.try_into().ok()?;
    Some(Signature::from_bytes(&bytes))
}

/// Unpadded Base64 of either alphabet, as the event's schema allows for keys.
fn decode_base64(encoded: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    standard.decode(encoded).or_else(|_| url_safe.decode(encoded)).ok()
}
