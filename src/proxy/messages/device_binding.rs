//! Texts about device-bound sessions.

use super::{ErrorText, LOG_IN_AGAIN, TRY_LATER, text};

/// The browser could not renew the proof of its session.
pub(super) const PROOF_UNAVAILABLE: ErrorText = text(
    "Your browser could not confirm your session",
    "Your session is bound to this device, and your browser could not confirm that just now. You are still logged in.",
    TRY_LATER,
);

/// The app requires a bound session.
pub(super) const NOT_BOUND: ErrorText = text(
    "This browser cannot be used here",
    "This site accepts only sessions that are bound to a device, and this browser did not bind yours.",
    "Use a current version of Chrome or Edge on Windows or macOS, or log in again if you do.",
);

/// A registration or a renewal failed. Only the browser sees it.
pub(in crate::proxy) const FAILED: ErrorText = text(
    "The session was not bound to this device",
    "The browser did not prove that it has the key of a session.",
    LOG_IN_AGAIN,
);
