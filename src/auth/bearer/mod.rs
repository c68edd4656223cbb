//! Bearer authentication by access token (RFC 6750, RFC 9449). A token is verified once, with the
//! keys of its issuer or by introspection, and validated at every request.

pub mod authenticate;
pub mod dpop;
mod introspection;
pub mod token_identity;
