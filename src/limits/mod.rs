//! Fair limits: concurrency limits, task limits and a byte budget, each with a share per client. Limits of
//! each client on its own.
//!
//! The share is a dynamic threshold (Choudhury and Hahne, 1998): a client may take more of a limit
//! only while it holds no more than is still free. One client alone therefore gets half of a limit,
//! two get a third each, and a client that holds nothing is always served while anything is free.

mod byte_budget;
mod client_key;
mod client_limit;
mod concurrency;
mod shares;
mod task_limit;
mod uploads;

pub use byte_budget::{ByteBudget, Reservation};
pub use client_key::{ClientKey, current_client, on_behalf_of};
pub use client_limit::{
    ByClient, ClientLimit, ClientLimitExceeded, ClientLimitSettings, ClientSlot, Quota, RequestRate,
};
pub use concurrency::{ConcurrencyLimiter, InFlightGuard, LimitExceeded, LimiterSettings};
pub use shares::within_share;
pub use task_limit::{TaskGuard, TaskLimit};
pub use uploads::{UploadProgress, UploadWatch};
