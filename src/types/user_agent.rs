//! Names of client programs in `User-Agent` (RFC 9110 section 10.1.5): in lists of sessions, and for client
//! continuity. The field is free text of the client. If a change of the tables renames a program, its
//! sessions are those of another client, and with `client_change = "enforce"` their users log in again.

/// The longest product name of an unknown client, in characters.
const MAX_NAME: usize = 24;

/// The longest part of the field that is read, in bytes. Browsers send less than 200.
const MAX_READ: usize = 1024;

/// Marks of browsers. The first one that occurs counts: a browser also sends the marks of those that
/// it resembles.
const BROWSERS: [(&str, &str); 11] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Version/", "Safari"),
];

/// Marks of operating systems. The first one that occurs counts.
const SYSTEMS: [(&str, &str); 7] = [
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// The text between the product and the system in a name.
const ON: &str = " on ";

/// The parts of a name that [`program_name`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramName<'n> {
    /// The product, such as `Firefox`.
    pub product: &'n str,
    /// The operating system, such as `Windows`.
    pub system: Option<&'n str>,
}

impl<'n> ProgramName<'n> {
    /// Splits a name.
    pub fn of(name: &'n str) -> Self {
        let parts = name.rsplit_once(ON);
        Self {
            product: parts.map_or(name, |(product, _)| product),
            system: parts.map(|(_, system)| system),
        }
    }
}

/// A short name of the program, such as `Firefox on Windows`. It has letters, digits, blanks and
/// `.`, `_`, `-` only. `None`: the field names no product.
pub fn program_name(user_agent: &[u8]) -> Option<String> {
    let read = user_agent.get(..MAX_READ).unwrap_or(user_agent);
    let text = String::from_utf8_lossy(read);
    let found = |marks: &[(&str, &'static str)]| {
        let mut marks = marks.iter();
        marks
            .find(|(mark, _)| text.contains(mark))
            .map(|(_, name)| *name)
    };
    let browser = found(&BROWSERS).filter(|_| text.starts_with("Mozilla/"));
    let name = match browser {
        Some(browser) => browser.to_owned(),
        None => product(&text)?,
    };
    Some(match found(&SYSTEMS) {
        Some(system) => format!("{name}{ON}{system}"),
        None => name,
    })
}

/// The name of the first product.
fn product(text: &str) -> Option<String> {
    let is_plain = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    let name: String = text.chars().take_while(is_plain).take(MAX_NAME).collect();
    (!name.is_empty() && name != "Mozilla").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_name_is_short_and_plain() {
        const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        for (user_agent, expected) in [
            (CHROME, Some("Chrome on Linux")),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                Some("Edge on Windows"),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                Some("Safari on macOS"),
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1",
                Some("Chrome on iOS"),
            ),
            (
                "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
                Some("Firefox on Android"),
            ),
            (
                "Mozilla/5.0 (Android 15; Linux) AppleWebKit SamsungBrowser/28.0 Chrome/130.0",
                Some("Samsung Internet on Android"),
            ),
            ("curl/8.5.0", Some("curl")),
            ("DAVx5/4.4 (Android)", Some("DAVx5 on Android")),
            ("Version/1 Chrome/2", Some("Version")),
            ("Mozilla/5.0", None),
            ("", None),
            ("<script>alert(1)</script>", None),
            ("a<b>/1", Some("a")),
            ("\u{202e}x", None),
        ] {
            let name = program_name(user_agent.as_bytes());
            assert_eq!(name.as_deref(), expected, "{user_agent}");
        }
    }

    #[test]
    fn program_name_is_split_at_the_system() {
        let name = |product, system| ProgramName { product, system };
        let samsung = ProgramName::of("Samsung Internet on Android");
        assert_eq!(samsung, name("Samsung Internet", Some("Android")));
        assert_eq!(ProgramName::of("curl"), name("curl", None));
    }

    #[test]
    fn hostile_field_gives_a_bounded_name() {
        let long = "A".repeat(100_000);
        assert_eq!(
            program_name(long.as_bytes()).map(|name| name.len()),
            Some(MAX_NAME)
        );
        assert_eq!(program_name(&[0xff; 5000]), None);
        let late = format!("Mozilla/5.0 {} Firefox/1", "x".repeat(MAX_READ));
        assert_eq!(program_name(late.as_bytes()), None);
    }
}
