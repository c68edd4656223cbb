//! The operations of the admin listener.

use std::sync::Arc;

use super::readiness::dependencies;
use super::reload::{Reloader, Trigger};
use crate::admin::readiness::Dependencies;
use crate::admin::{Applied, Operation, Operations, ReloadError, Reloaded};
use crate::auth::operator_command;
use crate::auth::purposes::{SealedMaintenanceCommand, SealedReloadCommand};
use crate::auth::revocation::publication::Reach;

/// The operations on a running server.
pub(super) struct ServerOperations(pub(super) Arc<Reloader>);

impl Operations for ServerOperations {
    fn refresh_gauges(&self) {
        let metrics = &self.0.process().metrics;
        self.0.current().refresh_gauges(metrics);
    }

    fn dependencies(&self) -> Dependencies {
        let process = self.0.process();
        let elapsed = process.clock.now().since(process.started_at);
        dependencies(&self.0.current(), self.0.status(), elapsed)
    }

    fn hosts(&self) -> Arc<[String]> {
        Arc::clone(&self.0.current().admin_hosts)
    }

    fn revoke<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Applied, String>> {
        let auth = Arc::clone(&self.0.current().auth);
        Box::pin(async move {
            let applied = auth.revocation_commands.apply(message).await;
            let applied = applied.map_err(|error| error.to_string())?;
            Ok(Applied {
                count: applied.count,
                is_published: applied.reach == Reach::Published,
            })
        })
    }

    fn sessions(&self, message: &str) -> Result<String, String> {
        let current = self.0.current();
        let list = &current.auth.session_list;
        let report = list.report(&current.ring, message);
        let report = report.map_err(|error| error.to_string())?;
        serde_json::to_string(&report).map_err(|error| error.to_string())
    }

    fn maintenance(&self, message: &str) -> Result<String, String> {
        let current = self.0.current();
        let now = self.0.process().clock.now();
        let command =
            operator_command::open::<SealedMaintenanceCommand>(&current.ring, message, now)
                .map_err(|error| error.to_string())?;
        let app = command.app.as_deref();
        let is_on = current.maintenance.command(app, command.is_on);
        let is_on = is_on.map_err(|error| error.to_string())?;
        let outcome = match (command.is_on, is_on) {
            (true, _) => "on",
            (false, false) => "off",
            (false, true) => "still on: its file exists",
        };
        Ok(outcome.to_owned())
    }

    fn reload<'a>(&'a self, message: &'a str) -> Operation<'a, Result<Reloaded, ReloadError>> {
        Box::pin(async move {
            let now = self.0.process().clock.now();
            operator_command::open::<SealedReloadCommand>(&self.0.current().ring, message, now)
                .map_err(|error| ReloadError::Rejected(error.to_string()))?;
            self.0.reload(Trigger::Command).await
        })
    }
}
