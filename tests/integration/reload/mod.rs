//! Configuration reload: what starts one, what it changes, and what it leaves alone.

mod invalid;
mod kept;
mod revocations;
mod sealing_keys;
mod triggers;
mod under_load;
