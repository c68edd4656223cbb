//! Device binding tests: each state of a session and its proof, challenges and keys.

use super::*;
use crate::session::network_hint::ClientTraits;
use crate::session::seal::{Key, KeyRing};
use crate::types::secret::Secret;

const POLICY: BindingPolicy = BindingPolicy {
    is_required: false,
    validity: Duration::from_secs(45),
    refresh_interval: Duration::from_secs(30),
    challenge_window: Duration::from_secs(180),
    pending_window: Duration::from_secs(120),
    network_hint: true,
    strict_validity: Duration::from_secs(3),
    stream_proof_timeout: Duration::from_secs(1_800),
};

const REQUIRED: BindingPolicy = BindingPolicy {
    is_required: true,
    ..POLICY
};

const fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_000 + secs)
}

fn key(byte: u8) -> DeviceKey {
    DeviceKey::P256 {
        x: [byte; 32],
        y: [9; 32],
    }
}

fn proof(sid: &str, key: &DeviceKey, secs: u64) -> PresentedProof {
    PresentedProof::Opened(Arc::new(DeviceProof {
        sid: SessionId::new(sid),
        key: key.fingerprint(),
        proven_at: at(secs),
        networks: None,
        in_any_network: false,
    }))
}

/// The status of the session `own` for a request with this proof.
fn status(
    device: &DeviceBinding,
    proof: &PresentedProof,
    policy: &BindingPolicy,
    secs: u64,
) -> BindingStatus {
    let presented = PresentedDevice {
        proof: proof.clone(),
        ..PresentedDevice::NONE
    };
    status_of(device, &presented, policy, secs)
}

/// The status of the session `own`, which began at second 0, for a request of this device.
fn status_of(
    device: &DeviceBinding,
    presented: &PresentedDevice,
    policy: &BindingPolicy,
    secs: u64,
) -> BindingStatus {
    let session = BoundSession {
        sid: &SessionId::new("own"),
        started_at: at(0),
        device: device.state(),
    };
    check(session, presented, policy, at(secs))
}

/// A client at this address with this `User-Agent`.
fn client(address: [u8; 4], agent: &str) -> HintedClient {
    let ring = KeyRing::new(Key::new(&Secret::new([1; 32])).unwrap(), vec![]);
    let traits = ClientTraits {
        address: Some(address.into()),
        agent: agent.as_bytes(),
    };
    HintedClient::new(&ring, traits)
}

#[test]
fn session_that_was_never_bound_is_permitted_unless_required() {
    let device = DeviceBinding::Unbound;
    for secs in [0, 119, 120, 50_000] {
        let absent = &PresentedProof::Absent;
        assert_eq!(
            status(&device, absent, &POLICY, secs),
            BindingStatus::Permitted
        );
        assert_eq!(
            status(&device, absent, &REQUIRED, secs),
            BindingStatus::Unproven(Unproven::NotBound)
        );
    }
}

#[test]
fn pending_session_is_permitted_within_its_window() {
    let device = DeviceBinding::Pending;
    for proof in [
        PresentedProof::Absent,
        PresentedProof::Unreadable,
        proof("other", &key(1), 0),
    ] {
        for policy in [&POLICY, &REQUIRED] {
            assert_eq!(
                status(&device, &proof, policy, 119),
                BindingStatus::Permitted
            );
        }
        assert_eq!(
            status(&device, &proof, &POLICY, 120),
            BindingStatus::NeedsRefresh
        );
        assert_eq!(
            status(&device, &proof, &REQUIRED, 120),
            BindingStatus::Unproven(Unproven::NotBound)
        );
    }
}

#[test]
fn bound_session_with_fresh_proof_is_permitted() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    for policy in [&POLICY, &REQUIRED] {
        let proof = proof("own", &key(1), 500);
        assert_eq!(
            status(&device, &proof, policy, 544),
            BindingStatus::Permitted
        );
        // The clock of another replica may be ahead.
        assert_eq!(
            status(&device, &proof, policy, 498),
            BindingStatus::Permitted
        );
    }
}

#[test]
fn bound_session_with_stale_proof_is_unproven() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    assert_eq!(
        status(&device, &proof("own", &key(1), 500), &POLICY, 545),
        BindingStatus::Unproven(Unproven::Stale)
    );
}

#[test]
fn proof_on_strict_path_ends_earlier() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    for (secs, is_strict, expected) in [
        (502, true, BindingStatus::Permitted),
        (503, true, BindingStatus::Unproven(Unproven::Stale)),
        (503, false, BindingStatus::Permitted),
    ] {
        let presented = PresentedDevice {
            proof: proof("own", &key(1), 500),
            client: None,
            is_strict,
        };
        let status = status_of(&device, &presented, &POLICY, secs);
        assert_eq!(status, expected, "{secs} {is_strict}");
    }
    // Sessions without a key have nothing to prove.
    for device in [DeviceBinding::Unbound, DeviceBinding::Pending] {
        let presented = PresentedDevice {
            is_strict: true,
            ..PresentedDevice::NONE
        };
        let status = status_of(&device, &presented, &POLICY, 10);
        assert_eq!(status, BindingStatus::Permitted);
    }
}

#[test]
fn proof_counts_in_its_networks_only() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    let [home, office] = [[192, 0, 2, 1], [198, 51, 100, 1]];
    let known = [client(home, "Chrome"), client(office, "Chrome")];
    let networks = known.iter().map(HintedClient::hint).collect();
    let proven = |networks| DeviceProof {
        sid: SessionId::new("own"),
        key: key(1).fingerprint(),
        proven_at: at(500),
        networks,
        in_any_network: false,
    };
    let status = |networks, client: HintedClient| {
        let presented = PresentedDevice {
            proof: PresentedProof::Opened(Arc::new(proven(networks))),
            client: Some(Arc::new(client)),
            is_strict: false,
        };
        status_of(&device, &presented, &POLICY, 510)
    };
    let networks = Some(networks);
    for (address, agent, expected) in [
        (home, "Chrome", BindingStatus::Permitted),
        (office, "Chrome", BindingStatus::Permitted),
        ([192, 0, 2, 99], "Chrome", BindingStatus::Permitted),
        (home, "curl", BindingStatus::Unproven(Unproven::OtherAgent)),
        (
            [203, 0, 113, 1],
            "Chrome",
            BindingStatus::Unproven(Unproven::OtherNetwork),
        ),
        (
            [203, 0, 113, 1],
            "curl",
            BindingStatus::Unproven(Unproven::OtherNetwork),
        ),
    ] {
        let status = status(networks.clone(), client(address, agent));
        assert_eq!(status, expected, "{address:?} {agent}");
    }
    let anywhere = client([203, 0, 113, 1], "curl");
    assert_eq!(status(None, anywhere), BindingStatus::Permitted);
}

#[test]
fn refused_network_is_remembered_for_the_renewal_of_its_session() {
    let hint = client([192, 0, 2, 1], "Chrome").hint();
    let refused = |secs| {
        let refused = RefusedNetwork {
            sid: SessionId::new("own"),
            hint,
            refused_at: at(0),
        };
        refused.before(&SessionId::new("own"), at(secs))
    };
    assert_eq!((refused(29), refused(30)), (Some(hint), None));
    let foreign = RefusedNetwork {
        sid: SessionId::new("other"),
        hint,
        refused_at: at(0),
    };
    assert_eq!(foreign.before(&SessionId::new("own"), at(0)), None);
}

#[test]
fn payloads_of_earlier_versions_are_read() {
    let proof = DeviceProof {
        sid: SessionId::new("own"),
        key: key(1).fingerprint(),
        proven_at: at(0),
        networks: None,
        in_any_network: false,
    };
    let mut bytes = postcard::to_allocvec(&proof).unwrap();
    assert_eq!((bytes.pop(), bytes.pop()), (Some(0), Some(0)));
    assert_eq!(postcard::from_bytes::<DeviceProof>(&bytes).unwrap(), proof);
    let challenge = DeviceChallenge {
        sid: SessionId::new("own"),
        begins_at: at(0),
        networks: ProvenNetworks::default(),
    };
    let mut bytes = postcard::to_allocvec(&challenge).unwrap();
    assert_eq!((bytes.pop(), bytes.pop()), (Some(0), Some(0)));
    assert_eq!(
        postcard::from_bytes::<DeviceChallenge>(&bytes).unwrap(),
        challenge
    );
}

#[test]
fn bound_session_without_proof_is_unproven_even_at_once() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    for secs in [0, 119, 120, 50_000] {
        assert_eq!(
            status(&device, &PresentedProof::Absent, &POLICY, secs),
            BindingStatus::Unproven(Unproven::Missing)
        );
    }
}

#[test]
fn proof_of_other_session_or_key_is_invalid() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    for proof in [
        proof("other", &key(1), 500),
        proof("own", &key(2), 500),
        PresentedProof::Unreadable,
    ] {
        assert_eq!(
            status(&device, &proof, &POLICY, 501),
            BindingStatus::Unproven(Unproven::Invalid),
            "{proof:?}"
        );
    }
}

#[test]
fn refresh_ends_pending_after_its_window_only() {
    let bound = DeviceBinding::Bound(Box::new(key(1)));
    let after =
        |device: &DeviceBinding, policy, secs| device.after_refresh(policy, at(0), at(secs));
    assert_eq!(
        after(&DeviceBinding::Pending, Some(&POLICY), 119),
        DeviceBinding::Pending
    );
    for (policy, secs) in [(Some(&POLICY), 120), (None, 0)] {
        assert_eq!(
            after(&DeviceBinding::Pending, policy, secs),
            DeviceBinding::Unbound
        );
        assert_eq!(after(&bound, policy, secs), bound);
        assert_eq!(
            after(&DeviceBinding::Unbound, policy, secs),
            DeviceBinding::Unbound
        );
    }
}

#[test]
fn challenge_is_kept_for_its_window_and_valid_for_two() {
    let (own, other) = (SessionId::new("own"), SessionId::new("other"));
    let window = POLICY.challenge_window;
    let challenge = DeviceChallenge {
        sid: own.clone(),
        begins_at: at(0),
        networks: ProvenNetworks::default(),
    };
    for (secs, is_current, is_valid) in [
        (0, true, true),
        (179, true, true),
        (180, false, true),
        (359, false, true),
        (360, false, false),
    ] {
        let now = at(secs);
        assert_eq!(challenge.is_current(window, now), is_current, "{secs}");
        assert_eq!(challenge.is_valid(&own, window, now), is_valid, "{secs}");
        assert!(!challenge.is_valid(&other, window, now));
    }
    assert_ne!(session_identifier(&own), session_identifier(&other));
}

#[test]
fn only_keys_of_the_accepted_kinds_and_sizes_are_read() {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "n": text(n), "e": text(e) });
    for jwk in [
        key(1).to_jwk(),
        rsa(&[0xff; 256], &[1, 0, 1]),
        rsa(&[0x80; 512], &[1, 0, 1]),
    ] {
        let key = DeviceKey::from_jwk(&jwk).unwrap();
        assert_eq!(key.to_jwk(), jwk);
        let bytes = postcard::to_allocvec(&DeviceBinding::Bound(Box::new(key.clone()))).unwrap();
        assert_eq!(
            postcard::from_bytes::<DeviceBinding>(&bytes).unwrap(),
            DeviceBinding::Bound(Box::new(key))
        );
    }
    for jwk in [
        json!({}),
        json!([]),
        json!({ "kty": "EC", "crv": "P-384", "x": text(&[1; 48]), "y": text(&[1; 48]) }),
        json!({ "kty": "EC", "crv": "P-256", "x": text(&[1; 31]), "y": text(&[1; 32]) }),
        json!({ "kty": "EC", "crv": "P-256", "x": text(&[1; 32]) }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": text(&[1; 32]) }),
        json!({ "kty": "oct", "k": text(&[1; 32]) }),
        rsa(&[0xff; 255], &[1, 0, 1]),
        rsa(&[0xff; 513], &[1, 0, 1]),
        rsa(&[0x7f; 256], &[1, 0, 1]),
        rsa(&[0xff; 256], &[3]),
        rsa(&[0xff; 256], &[0, 1, 0, 1]),
    ] {
        assert_eq!(DeviceKey::from_jwk(&jwk), None, "{jwk}");
    }
}

#[test]
fn proof_cookie_outlives_the_browsers_renewal_by_one_interval() {
    assert_eq!(POLICY.cookie_max_age(), Duration::from_secs(150));
}

#[test]
fn proof_in_any_network_counts_for_its_program_only() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    let known = client([192, 0, 2, 1], "Mozilla/5.0");
    let proof = PresentedProof::Opened(Arc::new(DeviceProof {
        sid: SessionId::new("own"),
        key: key(1).fingerprint(),
        proven_at: at(0),
        networks: Some(vec![known.hint()]),
        in_any_network: true,
    }));
    for (address, agent, expected) in [
        ([192, 0, 2, 1], "Mozilla/5.0", BindingStatus::Permitted),
        ([198, 51, 100, 1], "Mozilla/5.0", BindingStatus::Permitted),
        (
            [198, 51, 100, 1],
            "curl/8.0",
            BindingStatus::Unproven(Unproven::OtherAgent),
        ),
    ] {
        let presented = PresentedDevice {
            proof: proof.clone(),
            client: Some(Arc::new(client(address, agent))),
            is_strict: false,
        };
        assert_eq!(status_of(&device, &presented, &POLICY, 1), expected);
    }
}

#[test]
fn strict_paths_are_never_laxer_than_others() {
    let device = DeviceBinding::Bound(Box::new(key(1)));
    let policy = BindingPolicy {
        validity: Duration::from_secs(2),
        ..POLICY
    };
    let presented = PresentedDevice {
        proof: proof("own", &key(1), 0),
        client: None,
        is_strict: true,
    };
    let stale = BindingStatus::Unproven(Unproven::Stale);
    assert_eq!(
        status_of(&device, &presented, &policy, 1),
        BindingStatus::Permitted
    );
    assert_eq!(status_of(&device, &presented, &policy, 2), stale);
}
