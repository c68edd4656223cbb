//! Properties of arbitrary input, one file for each public entry point, shared by generated tests,
//! the corpus and the fuzz targets.

pub(crate) mod callback;
pub(crate) mod config;
pub(crate) mod cookies;
pub(crate) mod dpop;
pub(crate) mod event;
pub(crate) mod jws;
pub(crate) mod return_to;
pub(crate) mod routes;
pub(crate) mod target;
