//! What must hold of any input at all, one file for each public entrance: generated tests, the corpus and the fuzz
//! targets all ask the same.

pub(crate) mod callback;
pub(crate) mod config;
pub(crate) mod cookies;
pub(crate) mod event;
pub(crate) mod jws;
pub(crate) mod return_to;
pub(crate) mod target;
