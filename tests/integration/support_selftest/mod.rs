//! The fakes are measured before anything is measured with them.

mod backend;
mod browser;
mod flow;
mod pages;
mod provider;
mod real_provider;
mod token_flaws;
