//! Words that every floor uses: secrets, time, addresses, the standards' own terms, and the one body type.

pub mod body;
pub mod files;
pub mod net;
pub mod oauth;
pub mod secret;
pub mod target;
pub mod time;
