//! PURE: what our cookies mean. `now`, nonces and keys are arguments; nothing here is kept between requests.

pub mod app_cookie;
pub mod assess;
pub mod attempt;
pub mod budget;
pub mod cookie;
pub mod grant;
pub mod jwt;
pub mod kept_form;
pub mod login_loop;
pub mod person;
pub mod seal;
