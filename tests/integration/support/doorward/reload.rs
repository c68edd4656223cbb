//! Changes of the configuration file of a running [`Doorward`].

use std::fs;

use doorward::admin::{ReloadError, Reloaded};
use doorward::config::SealingKey;
use doorward::server::Trigger;

use super::Doorward;

impl Doorward {
    /// Replaces `old` by `new` in the configuration file, in one step.
    pub fn edit(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.file()).expect("the file");
        assert!(text.contains(old), "`{old}` is not in:\n{text}");
        self.rewrite(&text.replacen(old, new, 1));
    }

    /// Replaces the configuration file in one step.
    pub fn rewrite(&self, text: &str) {
        self.replace_file("doorward.toml", text);
    }

    /// Replaces a file beside the configuration in one step.
    pub fn replace_file(&self, name: &str, text: &str) {
        let new = self.file().with_file_name("new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, self.file().with_file_name(name)).expect("a file");
    }

    /// Writes a new key file.
    pub fn add_key(&self, name: &str) {
        let key = SealingKey::generate().expect("randomness");
        self.replace_file(name, &key.to_text());
    }

    /// Reloads the configuration of the first replica.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.servers[0].reload(Trigger::Signal).await
    }

    /// Reloads a valid configuration that has changed.
    pub async fn reload_changes(&self) -> Reloaded {
        let reloaded = self.reload().await.expect("a valid configuration");
        assert!(reloaded.changes > 0, "nothing has changed");
        reloaded
    }
}
