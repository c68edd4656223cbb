//! Which parameters the login links of an app may have.

/// The parameters that login links of an app may have. Those that its access rules require are always
/// allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedParameters {
    /// The values of `prompt`.
    pub prompts: Vec<String>,
    /// The values of `acr_values`.
    pub acr_values: Vec<String>,
    /// Whether `login_hint` is allowed.
    pub login_hint: bool,
    /// Whether `ui_locales` is allowed.
    pub ui_locales: bool,
}

impl AllowedParameters {
    /// The `prompt` of a link that switches the account. `None`: no such link is allowed.
    pub fn account_switch(&self) -> Option<&str> {
        let mut known = ["select_account", "login"].into_iter();
        known.find(|prompt| self.allows_prompt(prompt))
    }

    /// Whether a link may have this `prompt`.
    pub fn allows_prompt(&self, prompt: &str) -> bool {
        self.prompts.iter().any(|allowed| allowed == prompt)
    }
}
