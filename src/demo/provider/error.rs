//! Errors of the provider itself.

/// An internal error: the response is 500.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum InternalError {
    #[error("the system gave no random bytes")]
    Entropy,
    #[error("a token could not be signed")]
    Signing,
    #[error("a page could not be rendered")]
    Page,
}
