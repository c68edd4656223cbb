//! Several real processes with one configuration file, one provider and the same backends, on the
//! system clock, so that they can be killed.

use std::process::Command;
use std::sync::Arc;

use doorward::types::time::SystemClock;

use super::browser::Browser;
use super::doorward::{Setup, Surroundings};
use super::process::Process;
use super::provider::User;

/// A command that has ended.
pub struct Ended {
    pub code: i32,
    /// Both of its outputs.
    pub said: String,
}

/// The replicas and their environment.
pub struct Replicas {
    pub around: Surroundings,
    pub processes: Vec<Process>,
}

impl Replicas {
    /// Starts `count` replicas with the origins of [`Setup::plain`].
    pub fn start(count: usize, setup: Setup) -> Self {
        let around = setup.surround(Arc::new(SystemClock));
        let processes = (0..count)
            .map(|_| Process::run(around.file.as_os_str(), &[]))
            .collect();
        Self { around, processes }
    }

    /// Moves a browser to this replica.
    pub fn moved_to(&self, replica: usize, browser: Browser) -> Browser {
        browser.with_port(8080, self.processes[replica].port("address"))
    }

    /// A browser in which `name` has opened this store page at a replica and logged in.
    pub async fn logged_in(&self, replica: usize, name: &str, path: &str) -> Browser {
        self.around.provider.sign_in(User::new(name, &[]));
        let mut browser = self.moved_to(replica, Browser::new(Arc::new(SystemClock)));
        let page = browser.visit(&Self::store_url(path)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, Self::store_url(path).as_str()),
            "{page}"
        );
        browser
    }

    /// A page of the store.
    pub fn store_url(path: &str) -> String {
        format!("http://store.localhost:8080{path}")
    }

    /// Runs a `doorward` command with the same file and returns its output if it succeeds.
    pub fn command(&self, words: &[&str]) -> Result<String, String> {
        let Ended { code, said } = self.ended(words);
        if code == 0 { Ok(said) } else { Err(said) }
    }

    /// Runs a `doorward` command, such as `reload` or `sessions list`, with the same file until it ends.
    pub fn ended(&self, words: &[&str]) -> Ended {
        let file = self.around.file.to_str().expect("a plain name");
        let (command, rest) = words.split_first().expect("a command");
        let command: Vec<&str> = command.split(' ').collect();
        let arguments = [&command[..], &["--config", file], rest].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_doorward"))
            .args(arguments)
            .env_clear()
            .output();
        let output = output.expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        Ended {
            code: output.status.code().expect("an exit code"),
            said: String::from_utf8(said).expect("text"),
        }
    }
}
