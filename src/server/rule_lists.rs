//! Lists in files that access rules use: files that change are read again. If a file cannot be used,
//! its last good content stays in use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::RuleListFile;
use crate::policy::rule_lists::{ListContent, ListId, RuleLists};
use crate::telemetry::metrics::Metrics;
use crate::types::files::FileFingerprint;

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A file, and what is known of it.
#[derive(Clone)]
struct WatchedFile {
    file: RuleListFile,
    /// Its fingerprint when it was last read, or could not be.
    seen: FileFingerprint,
    is_outdated: bool,
}

/// The lists of a configuration, which follow their files.
pub(super) struct WatchedLists {
    files: Vec<RuleListFile>,
    current: Arc<ArcSwap<RuleLists>>,
    metrics: Arc<Metrics>,
}

impl WatchedLists {
    pub(super) fn new(files: Vec<RuleListFile>, metrics: Arc<Metrics>) -> Arc<Self> {
        let lists = files.iter().map(|file| Arc::clone(&file.content)).collect();
        Arc::new(Self {
            current: Arc::new(ArcSwap::from_pointee(RuleLists::new(lists))),
            files,
            metrics,
        })
    }

    /// The current content of all lists.
    pub(super) fn current(&self) -> Arc<ArcSwap<RuleLists>> {
        Arc::clone(&self.current)
    }

    /// Checks the files forever. Returns at once without files.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        if self.files.is_empty() {
            return;
        }
        let mut watched = self.watched();
        loop {
            sleep(CHECK_INTERVAL).await;
            let this = Arc::clone(&self);
            let Ok(checked) = spawn_blocking(move || this.check(watched)).await else {
                return;
            };
            watched = checked;
        }
    }

    fn watched(&self) -> Vec<WatchedFile> {
        let watch = |file: &RuleListFile| WatchedFile {
            file: file.clone(),
            seen: file.fingerprint.clone(),
            is_outdated: false,
        };
        self.files.iter().map(watch).collect()
    }

    /// Reads the files that have changed.
    fn check(&self, mut watched: Vec<WatchedFile>) -> Vec<WatchedFile> {
        for (index, watched) in watched.iter_mut().enumerate() {
            let fingerprint = FileFingerprint::of(&watched.file.path);
            if fingerprint != watched.seen {
                watched.seen = fingerprint;
                self.reload(ListId::new(index), watched);
            }
        }
        let outdated = watched.iter().filter(|watched| watched.is_outdated).count();
        self.metrics
            .rule_lists_outdated
            .set(i64::try_from(outdated).unwrap_or(i64::MAX));
        watched
    }

    fn reload(&self, id: ListId, watched: &mut WatchedFile) {
        let RuleListFile { path, kind, .. } = &watched.file;
        let outcome = match RuleListFile::open(path.clone(), *kind) {
            Ok(read) => {
                let entries = ListContent::len(&read.content);
                tracing::info!(file = %path.display(), entries, "rule_list_loaded");
                self.current
                    .store(Arc::new(self.current.load().with(id, read.content)));
                watched.is_outdated = false;
                "loaded"
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "rule_list_refused");
                watched.is_outdated = true;
                "refused"
            }
        };
        let reloads = &self.metrics.rule_list_reloads;
        reloads.with_label_values(&[outcome]).inc();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::rule_lists::ListKind;

    #[test]
    fn file_that_cannot_be_used_leaves_its_last_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("emails.txt");
        fs::write(&path, "alice@example.com\n").unwrap();
        let file = RuleListFile::open(path.clone(), ListKind::Emails).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let lists = WatchedLists::new(vec![file], Arc::clone(&metrics));
        let contains = |email: &str| lists.current.load().contain_text(ListId::new(0), email);
        let replace = |text: &str| {
            let new = folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, &path).unwrap();
        };
        let reloads = |outcome: &str| {
            metrics
                .rule_list_reloads
                .with_label_values(&[outcome])
                .get()
        };

        let watched = lists.check(lists.watched());
        assert_eq!((reloads("loaded"), reloads("refused")), (0, 0));
        replace("bob@example.com\n");
        let watched = lists.check(watched);
        assert!(contains("bob@example.com") && !contains("alice@example.com"));

        replace("nobody\n");
        let watched = lists.check(watched);
        assert!(contains("bob@example.com"));
        assert_eq!(metrics.rule_lists_outdated.get(), 1);
        fs::remove_file(&path).unwrap();
        let watched = lists.check(lists.check(watched));
        assert!(contains("bob@example.com"));
        assert_eq!((reloads("loaded"), reloads("refused")), (1, 2));

        replace("carol@example.com\n");
        lists.check(watched);
        assert!(contains("carol@example.com") && !contains("bob@example.com"));
        assert_eq!(metrics.rule_lists_outdated.get(), 0);
    }
}
