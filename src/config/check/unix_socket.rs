//! Permissions of a Unix socket that Doorward listens on: `unix_socket_…` keys of a listener.

use std::path::Path;

use super::super::files::read_text;
use super::super::report::{Location, quoted};
use crate::downstream::SocketAccess;
use crate::types::net::ListenAddr;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// The keys.
pub(super) struct RawSocketAccess {
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
}

/// Checks the keys of the listener with this address. `at` is its table.
pub(super) fn check(
    raw: RawSocketAccess,
    address: Option<&ListenAddr>,
    at: &Location<'_>,
) -> SocketAccess {
    let RawSocketAccess { mode, owner, group } = raw;
    if let Some(ListenAddr::Tcp(_)) = address {
        for (key, is_set) in [
            ("unix_socket_mode", mode.is_some()),
            ("unix_socket_owner", owner.is_some()),
            ("unix_socket_group", group.is_some()),
        ] {
            if is_set {
                let hint = "remove the key, or listen on `unix:/run/doorward/doorward.sock`";
                at.key(key).error("the listener is not a Unix socket", hint);
            }
        }
    }
    let named = |name: Option<String>, key: &str, what: &str, file: &str| {
        let name = name?;
        let id = id_of(&name, Path::new(file));
        if id.is_none() {
            let hint = format!("a number, or a name in `{file}`");
            at.key(key)
                .error(format!("{} is not a {what}", quoted(&name)), hint);
        }
        id
    };
    SocketAccess {
        mode: mode.and_then(|text| self::mode(&text, &at.key("unix_socket_mode"))),
        owner: named(owner, "unix_socket_owner", "user", USERS),
        group: named(group, "unix_socket_group", "group", GROUPS),
    }
}

fn mode(text: &str, at: &Location<'_>) -> Option<u32> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| text.bytes().all(|byte| byte.is_ascii_digit()) && *mode <= 0o777);
    if mode.is_none() {
        let hint = "three or four octal digits, such as `\"0660\"`";
        at.error(format!("{} is not a file mode", quoted(text)), hint);
    }
    mode
}

/// The ID of a user or group: a number, or a name in a file of lines such as `name:x:1000:…`.
fn id_of(name: &str, file: &Path) -> Option<u32> {
    if let Ok(id) = name.parse() {
        return Some(id);
    }
    let (text, _) = read_text(file).ok()?;
    id_in(&text, name)
}

fn id_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_named = fields.next() == Some(name) && !name.is_empty();
        fields.nth(1).filter(|_| is_named)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_a_number_or_a_listed_name() {
        let text = "root:x:0:\n\nwww-data:x:33:doorward\nbroken:x\n:x:7:\n";
        assert_eq!(id_in(text, "www-data"), Some(33));
        assert_eq!(id_in(text, "root"), Some(0));
        for name in ["www", "doorward", "broken", "", "x"] {
            assert_eq!(id_in(text, name), None, "{name}");
        }
        assert_eq!(id_of("65532", Path::new("/absent")), Some(65532));
        assert_eq!(id_of("nobody-here", Path::new("/absent")), None);
    }
}
