//! End-to-end tests of Doorward in a real Chromium, driven over WebDriver.
#![expect(
    missing_docs,
    reason = "members of fixtures are named for what they are"
)]

#[cfg(test)]
mod accessibility;
#[cfg(test)]
pub mod chromium;
#[cfg(test)]
mod chromium_selftest;
#[cfg(test)]
mod client_continuity;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod device_binding;
#[cfg(test)]
mod http2_websocket;
#[cfg(test)]
pub mod journey;
#[cfg(test)]
mod login_host;
#[cfg(test)]
mod one_host;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod rendering;
#[cfg(test)]
mod shared_origin;
#[cfg(test)]
mod streams;
#[cfg(test)]
#[path = "../integration/support/mod.rs"]
pub mod support;
#[cfg(test)]
pub mod tls;
