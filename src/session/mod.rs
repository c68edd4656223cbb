//! PURE: session cookies and their validity. `now`, nonces and keys are arguments.

pub mod affinity;
pub mod app_cookie;
pub mod attempt;
pub mod budget;
pub mod client_continuity;
pub mod context;
pub mod cookie;
pub mod device_binding;
pub mod device_networks;
pub mod grant;
pub mod jwt;
pub mod last_user;
pub mod layout;
pub mod login_host;
pub mod login_loop;
pub mod native;
pub mod network_hint;
pub mod posted_response;
pub mod preserved_post;
pub mod seal;
pub mod token;
pub mod validity;
