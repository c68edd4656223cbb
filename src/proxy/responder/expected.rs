//! Expected responses: the status that a decision leads to, without executing it.

use http::StatusCode;

use super::Responder;
use crate::policy::decide::Decision;
use crate::policy::logout_target::LogoutTarget;
use crate::policy::path_routes::OwnResponse;
use crate::types::request_id::RequestId;

impl Responder {
    /// The status of the response to a request about which this was decided. `None` if it depends on
    /// more than the decision: on the app, the provider, the store or the body.
    pub fn expected_status(&self, decision: &Decision<'_>) -> Option<StatusCode> {
        match decision {
            Decision::Refuse(refusal) => {
                let refused = self.refusal(refusal, RequestId::new(0));
                Some(refused.response.status())
            }
            Decision::ChooseProvider {
                is_login_endpoint: true,
                ..
            } => Some(StatusCode::OK),
            Decision::StartLogin { .. }
            | Decision::ChooseProvider { .. }
            | Decision::AlreadySignedIn { .. }
            | Decision::ReturnFromLogout {
                target: LogoutTarget::Page(_),
                ..
            } => Some(StatusCode::FOUND),
            Decision::PreservePost { .. } | Decision::RelayLoginResponse { .. } => {
                Some(StatusCode::SEE_OTHER)
            }
            Decision::RedirectToCanonicalOrigin { .. } => Some(StatusCode::PERMANENT_REDIRECT),
            Decision::CorsPreflight { .. } => Some(StatusCode::NO_CONTENT),
            Decision::ConfirmLogout { .. }
            | Decision::ReturnFromLogout {
                target: LogoutTarget::Listed(_),
                ..
            }
            | Decision::ShowAssertionKeys { .. }
            | Decision::ShowSignedOut { .. }
            | Decision::ReloadFromApp { .. }
            | Decision::ShowSession { .. }
            | Decision::ShowSessions { .. } => Some(StatusCode::OK),
            Decision::RequireDeviceProof {
                by_redirect: true, ..
            } => Some(StatusCode::TEMPORARY_REDIRECT),
            Decision::RequireDeviceProof { .. } => Some(StatusCode::UNAUTHORIZED),
            Decision::Forward(permit) => match permit.own_response()? {
                OwnResponse::Redirect { status, .. } => Some(status),
                OwnResponse::Respond(fixed) => Some(fixed.status),
                OwnResponse::File(_) => None,
            },
            Decision::ConfirmPostReplay { .. }
            | Decision::FinishLogin { .. }
            | Decision::StartHostLogin { .. }
            | Decision::FinishHostLogin { .. }
            | Decision::ListSignedInApps { .. }
            | Decision::LogoutEverywhere { .. }
            | Decision::Logout { .. }
            | Decision::EndSessions { .. }
            | Decision::BackchannelLogout { .. }
            | Decision::Native { .. }
            | Decision::FrontchannelLogout { .. }
            | Decision::ReceiveWebhook { .. }
            | Decision::RegisterDevice { .. }
            | Decision::RenewDeviceProof { .. } => None,
        }
    }
}
