//! Who can reach the server, and what keeps them out: one line of the log, for whoever asks after a break-in or before one.

use std::net::SocketAddr;

use crate::config::Config;
use crate::security::UserTable;
use log::Level;

/// The line, and how urgent it is: these are the addresses listened on.
pub fn line(addresses: &[&str], config: &Config, users: &UserTable) -> (Level, String) {
    let is_tcp = |address: &&str| address.parse::<SocketAddr>().is_ok();
    let is_local =
        |address: &&str| address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    let (tcp, paths): (Vec<&str>, Vec<&str>) = addresses.iter().partition(|address| is_tcp(address));
    let (local, remote): (Vec<&str>, Vec<&str>) = tcp.into_iter().partition(is_local);
    let whoever = [
        ("any host", "by", &remote),
        ("this host", "by", &local),
        ("whoever may open", "the socket", &paths),
    ];
    let whoever = whoever.iter().filter(|(.., addresses)| !addresses.is_empty());
    let whoever = whoever.map(|(who, how, addresses)| format!("{who} {how} {}", addresses.join(" and ")));
    let whoever = whoever.collect::<Vec<_>>().join(", ");
    let is_open = users.default_user().is_open();
    let is_guarded = config.protected_mode && users.default_user().needs_no_password();
    let guard = match (remote.is_empty(), is_open, is_guarded) {
        (true, true, _) => "no password is asked for",
        (false, _, true) => "protected mode turns other hosts away, and no password is asked for",
        (false, true, false) => "NOTHING KEEPS THEM OUT: set a password (requirepass), or bind to 127.0.0.1",
        _ if users.default_user().is_on() => "a password is asked for",
        _ => "the default user is off, so who comes has to say which other user it is",
    };
    let is_exposed = !remote.is_empty() && is_open && !is_guarded;
    let level = if is_exposed { Level::Warn } else { Level::Info };
    (level, format!("Reachable from {whoever}; {guard}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::make_users;
    use crate::config::Text;

    fn of(addresses: &[&str], protected_mode: bool, requirepass: &str) -> (Level, String) {
        let config = Config { protected_mode, requirepass: Text::from(requirepass), ..Config::default() };
        let users = make_users(&config).expect("no users are declared");
        line(addresses, &config, &users.load())
    }

    #[test]
    fn the_line_says_who_can_come_and_what_keeps_them_out() {
        let everywhere = ["0.0.0.0:1", "127.0.0.1:1", "[::1]:1", "/run/torc"];
        let whoever = "Reachable from any host by 0.0.0.0:1, this host by 127.0.0.1:1 and [::1]:1, whoever may open the \
                       socket /run/torc; ";
        for (protected_mode, password, guard) in [
            (true, "", "protected mode turns other hosts away, and no password is asked for"),
            (false, "", "NOTHING KEEPS THEM OUT: set a password (requirepass), or bind to 127.0.0.1"),
            (false, "x", "a password is asked for"),
            (true, "x", "a password is asked for"),
        ] {
            let (level, text) = of(&everywhere, protected_mode, password);
            assert_eq!(text, format!("{whoever}{guard}"));
            assert_eq!(level == Level::Warn, guard.starts_with("NOTHING"));
        }
        let here = of(&["127.0.0.1:1"], false, "");
        assert_eq!(
            here,
            (Level::Info, "Reachable from this host by 127.0.0.1:1; no password is asked for".into())
        );
    }
}
