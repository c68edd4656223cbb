//! Tests of the test support: the fakes behave as the other tests assume.

mod backend;
mod browser;
mod flow;
mod pages;
mod provider;
mod real_provider;
mod token_flaws;
