//! Credentials that a request presents, if its route uses them.

use http::HeaderMap;

use crate::auth::basic::PresentedBasic;
use crate::auth::bearer::authenticate::PresentedBearer;
use crate::auth::bearer::dpop::DpopTarget;
use crate::identity::credentials::Credentials;
use crate::policy::basic::BasicCredentials;
use crate::policy::credential_use::CredentialUse;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::Route;

/// The access token in the request, if the route uses it.
pub(super) fn presented_bearer<'r>(
    info: &'r RequestInfo,
    route: &Route<'_>,
    headers: &'r HeaderMap,
) -> Option<PresentedBearer<'r>> {
    let may_wait = match route.bearer_use(headers) {
        CredentialUse::Ignored => return None,
        CredentialUse::Optional => false,
        CredentialUse::Required => true,
    };
    Some(PresentedBearer {
        credentials: Credentials::read(headers)?,
        target: dpop_target(info, headers),
        may_wait,
    })
}

/// The user name and the password in the request, if the route uses them.
pub(super) fn presented_basic(
    info: &RequestInfo,
    route: &Route<'_>,
    headers: &HeaderMap,
) -> Option<PresentedBasic> {
    let may_wait = match route.basic_use(info) {
        CredentialUse::Ignored => return None,
        CredentialUse::Optional => false,
        CredentialUse::Required => true,
    };
    Some(PresentedBasic {
        credentials: BasicCredentials::read(headers)?,
        address: info.address.client,
        may_wait,
    })
}

/// The request that a DPoP proof must match.
pub(super) fn dpop_target<'r>(info: &'r RequestInfo, headers: &'r HeaderMap) -> DpopTarget<'r> {
    DpopTarget {
        method: info.method.as_str(),
        path: info.target.path(),
        headers,
    }
}
