//! Affinity: a browser keeps to one upstream address of an app while that address works.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Response};

use super::Proxy;
use crate::policy::route::AppRef;
use crate::session::affinity::AddressHash;
use crate::session::cookie::RequestCookies;
use crate::types::body::Body;
use crate::upstream::{UpstreamHandle, make_private};

impl Proxy {
    /// Prefers the address that the browser's cookie selects. Returns its hash.
    pub(super) fn prefer_known_address(
        &self,
        app_ref: AppRef<'_>,
        upstream: &mut UpstreamHandle<'_>,
        headers: &HeaderMap,
    ) -> Option<AddressHash> {
        if !upstream.has_affinity() {
            return None;
        }
        let cookies = RequestCookies::read(headers.get_all(COOKIE));
        let known = self.auth.upstream_address(app_ref, &cookies)?;
        upstream.prefer(known);
        Some(known)
    }

    /// Sets the cookie, if the response is from another address than the `known` one.
    pub(super) fn remember_address(
        &self,
        app_ref: AppRef<'_>,
        upstream: &UpstreamHandle<'_>,
        known: Option<AddressHash>,
        response: &mut Response<Body>,
    ) {
        if !upstream.has_affinity() {
            return;
        }
        let address = upstream
            .address_to_keep()
            .filter(|address| known != Some(*address));
        let cookie = address.and_then(|address| self.auth.upstream_cookie(app_ref, address));
        if let Some(cookie) = cookie {
            let headers = response.headers_mut();
            headers.append(SET_COOKIE, cookie);
            // A shared cache would send the cookie to others.
            make_private(headers);
        }
    }
}
