//! Access rules for paths that skip the login.

use super::super::rules::{Allow, Rule};
use super::super::settings::SettingValue;
use super::super::{Import, path_regex};

/// Maps the public paths.
pub(super) fn map(import: &mut Import, app: &str) {
    for value in import.settings.take_values("skip-auth-regex") {
        let expression = value.text.clone();
        public(import, app, &value, &expression, None);
    }
    for value in import.settings.take_values("skip-auth-route") {
        // `!=` inverts the match.
        match value
            .text
            .split_once('=')
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
        {
            Some((method, _)) if method.ends_with('!') => {
                import.not_mapped(
                    &value,
                    "rules name the paths that they apply to, not all others",
                );
            }
            Some((method, path)) => public(
                import,
                app,
                &value,
                &path,
                Some(method.to_ascii_uppercase()),
            ),
            None => {
                let expression = value.text.clone();
                public(import, app, &value, &expression, None);
            }
        }
    }
    if import.settings.take_switch("skip-auth-preflight", false) {
        let mut rule = Rule::new(vec!["/**".to_owned()], Allow::Public);
        rule.methods = vec!["OPTIONS".to_owned()];
        import.rule(app, rule);
    }
}

fn public(
    import: &mut Import,
    app: &str,
    value: &SettingValue,
    expression: &str,
    method: Option<String>,
) {
    let method = method.filter(|method| !method.is_empty());
    let is_method = |method: &String| method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !method.iter().all(is_method) {
        import.not_mapped(value, "not a method");
        return;
    }
    match path_regex::patterns(expression) {
        Ok(paths) => {
            let mut rule = Rule::new(paths, Allow::Public);
            rule.methods = method.into_iter().collect();
            import.rule(app, rule);
        }
        Err(reason) => {
            let message = format!("`{expression}` stays closed: {reason}");
            import.not_mapped(value, message);
        }
    }
}
