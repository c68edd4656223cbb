//! Doctor: examines what a configuration depends on (`doorward check --online`): providers, the
//! registrations of apps, the store, and upstreams. It uses the clients of the running server.
//!
//! Nobody logs in, nothing is changed at a provider or an app, and no key is left in the store. Each
//! examination and the whole of them are bounded in time.

mod connection;
mod finding;
mod provider;
mod registration;
mod store;
#[cfg(test)]
mod testing;
mod upstream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use self::finding::{Finding, Subject, severity_name};

use self::finding::{Explained, Findings};
use self::registration::RegisteredApp;
use self::upstream::ClientParts;
use crate::config::{Config, StoreBackend};
use crate::dns::Resolver;
use crate::oidc::{Provider, install_crypto};
use crate::telemetry::metrics::Metrics;
use crate::types::time::Clock;

/// The time limits of an examination.
const TIME_LIMITS: TimeLimits = TimeLimits {
    total: Duration::from_secs(60),
    subject: Duration::from_secs(25),
};
/// The most examinations at once.
const MAX_AT_ONCE: usize = 16;

/// Examines everything that `config` depends on. `proxy_variable` is the name of the environment
/// variable that sets a proxy, which Doorward does not use.
///
/// # Errors
/// Metrics cannot be registered.
pub async fn examine(
    config: &Config,
    clock: &Arc<dyn Clock>,
    proxy_variable: Option<&str>,
) -> Result<Vec<Finding>, prometheus::Error> {
    install_crypto();
    let parts = ClientParts {
        resolver: Resolver::default(),
        metrics: Arc::new(Metrics::new()?),
    };
    let providers: Vec<Arc<Provider>> = config
        .providers
        .iter()
        .map(|settings| {
            let resolver = parts.resolver.clone();
            Provider::with_resolver(settings.clone(), Arc::clone(clock), resolver)
        })
        .collect();
    let mut examinations = Examinations::new(TIME_LIMITS);
    for provider in &providers {
        let subject = Subject::Provider(provider.settings().name.to_string());
        let variable = proxy_variable.map(str::to_owned);
        examinations.start(subject, provider::examine(Arc::clone(provider), variable));
    }
    if let StoreBackend::Redis(settings) = &config.store.backend {
        let examination = store::examine((**settings).clone(), Arc::clone(clock));
        examinations.start(Subject::Store, examination);
    }
    for app in &config.apps {
        let subject = Subject::App(app.policy.name.to_string());
        examinations.start(subject, upstream::examine(app.clone(), parts.clone()));
    }
    examinations.finish().await;
    // They need the metadata of the providers.
    for app in &config.apps {
        for registration in &app.registrations {
            let name = &registration.provider;
            let mut providers = providers.iter();
            if let Some(provider) = providers.find(|one| one.settings().name == *name) {
                let subject = Subject::App(app.policy.name.to_string());
                let registered = RegisteredApp::new(app, registration);
                let examination = registration::examine(registered, Arc::clone(provider));
                examinations.start(subject, examination);
            }
        }
    }
    examinations.finish().await;
    Ok(examinations.into_findings())
}

#[derive(Clone, Copy)]
struct TimeLimits {
    total: Duration,
    /// For what is examined about one subject at once.
    subject: Duration,
}

/// Examinations that run concurrently, and what they found.
struct Examinations {
    running: JoinSet<Vec<Finding>>,
    slots: Arc<Semaphore>,
    deadline: Instant,
    subject_timeout: Duration,
    findings: Vec<Finding>,
}

impl Examinations {
    fn new(limits: TimeLimits) -> Self {
        Self {
            running: JoinSet::new(),
            slots: Arc::new(Semaphore::new(MAX_AT_ONCE)),
            deadline: Instant::now() + limits.total,
            subject_timeout: limits.subject,
            findings: Vec::new(),
        }
    }

    fn start(
        &mut self,
        subject: Subject,
        examination: impl Future<Output = Vec<Finding>> + Send + 'static,
    ) {
        let slots = Arc::clone(&self.slots);
        let deadline = self.deadline;
        let subject_timeout = self.subject_timeout;
        self.running.spawn(async move {
            let in_time = async {
                let _slot = slots.acquire().await;
                let deadline = deadline.min(Instant::now() + subject_timeout);
                timeout_at(deadline, examination).await
            };
            match timeout_at(deadline, in_time).await {
                Ok(Ok(findings)) => findings,
                Ok(Err(_)) | Err(_) => unfinished(subject, "it took too long"),
            }
        });
    }

    /// Waits for all examinations that were started.
    async fn finish(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok(findings) => self.findings.extend(findings),
                Err(error) => {
                    let failed = unfinished(Subject::Configuration, &error.to_string());
                    self.findings.extend(failed);
                }
            }
        }
    }

    /// The findings by subject, errors first.
    fn into_findings(mut self) -> Vec<Finding> {
        self.findings
            .sort_by(|one, other| one.order().cmp(&other.order()));
        self.findings
    }
}

fn unfinished(subject: Subject, why: &str) -> Vec<Finding> {
    let mut findings = Findings::about(subject);
    let message = format!("the examination was not finished: {why}");
    findings.error(
        "check_unfinished",
        "",
        Explained::new(message, "run the check again"),
    );
    findings.into_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn examinations_end_in_time_and_lose_nothing() {
        let begun = Instant::now();
        let limits = TimeLimits {
            total: Duration::from_millis(300),
            subject: Duration::from_millis(100),
        };
        let mut examinations = Examinations::new(limits);
        let app = |number: usize| Subject::App(format!("{number:03}"));
        for number in 0..100 {
            examinations.start(app(number), async move {
                if number % 2 == 0 {
                    std::future::pending::<()>().await;
                }
                unfinished(app(number), "found")
            });
        }
        examinations.start(Subject::Store, async { panic!("a test") });
        examinations.finish().await;
        let findings = examinations.into_findings();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(findings.len(), 101);
        let subjects: Vec<&Subject> = findings.iter().map(|finding| &finding.subject).collect();
        assert!(subjects.is_sorted(), "{subjects:?}");
        let codes = findings.iter().map(|finding| finding.code);
        assert!(codes.eq(std::iter::repeat_n("check_unfinished", 101)));
    }
}
