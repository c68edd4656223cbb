//! The hosts file (`/etc/hosts`): addresses of names, without the DNS.

use std::net::IpAddr;

/// The addresses of `name` in the text of a hosts file.
pub(super) fn addresses(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_finds_names_and_aliases() {
        let text = "# a comment\n127.0.0.1 localhost\n10.0.0.7\tstore.internal  Store # here\n\
                    ::7 store\nnot an address store\n10.0.0.7 store\n10.0.0.9 # store\n";
        let find = |name: &str| {
            addresses(text, name)
                .iter()
                .map(IpAddr::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(find("store"), ["10.0.0.7", "::7"]);
        assert_eq!(find("STORE.internal."), ["10.0.0.7"]);
        for name in ["store.inter", "here", "10.0.0.7", "comment", ""] {
            assert_eq!(find(name), Vec::<String>::new(), "{name}");
        }
    }
}
