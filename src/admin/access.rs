//! Who is answered: whoever has the password; without one, whoever is on this host, or may open the Unix socket.
//!
//! Design: as protected mode has it for clients, other hosts are turned away while there is no password. A browser on this host may be
//! made to send requests here by any page it shows, but not to read the answers, unless that page's host name leads here, too
//! ("DNS rebinding"): so, without a password, a request has to name this host by its address or as `localhost`.

use std::net::{IpAddr, Ipv6Addr};

use base64ct::{Base64, Encoding as _};

use super::request::Request;
use super::response::{Response, Status};
use crate::config::{AdminPassword, Config, Hash};

/// Bytes of user and password in a request.
const CREDENTIALS_BYTES_MAX: usize = 1024;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The Unix socket.
    Unix,
    /// This address.
    Tcp(IpAddr),
}

/// Whether this request is to be answered; what is said if not.
pub fn check(config: &Config, peer: Peer, request: &Request) -> Result<(), Response> {
    let Peer::Tcp(address) = peer else { return Ok(()) };
    if let AdminPassword(Some(hash)) = config.admin_password {
        let password = request.authorization.as_deref().and_then(password);
        // Hashed and compared in any case: time tells nothing.
        let is_right = Hash::is_known(password.as_deref().unwrap_or_default(), &[hash]);
        return if is_right && password.is_some() {
            Ok(())
        } else {
            Err(Response::bare(Status::Unauthorized))
        };
    }
    if config.protected_mode && !address.to_canonical().is_loopback() {
        let text = "No 'admin-password' is set, and 'protected-mode' is on: only clients of the server's own host are \
                    answered. Set a password (CONFIG SET admin-password), or have the admin port listen on the loopback \
                    address only.";
        return Err(Response::text(Status::Forbidden, text));
    }
    if config.protected_mode && !request.host.as_deref().is_none_or(names_an_address) {
        let text = "No 'admin-password' is set: name the server by its address, or as localhost.";
        return Err(Response::text(Status::Forbidden, text));
    }
    Ok(())
}

/// The password in a header for basic authentication; whatever the user is called.
fn password(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = [0; CREDENTIALS_BYTES_MAX];
    let decoded = Base64::decode(encoded.trim_ascii(), &mut decoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Whether a host is an address or `localhost`, with or without a port.
fn names_an_address(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let rest_is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().is_ok() && rest_is_port;
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    is_port(port) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn request(host: &str, authorization: Option<&str>) -> Request {
        Request {
            is_head: false,
            path: "/".to_owned(),
            host: Some(host.to_owned()),
            authorization: authorization.map(|text| text.as_bytes().to_vec()),
            keeps_alive: true,
        }
    }

    fn status(config: &Config, peer: Peer, request: &Request) -> u16 {
        check(config, peer, request).map_or_else(|response| response.status as u16, |()| 200)
    }

    #[test]
    fn whoever_has_the_password_is_answered() {
        let config = Config { admin_password: AdminPassword(Some(Hash::of(b"pa:ss"))), ..Config::default() };
        let here = Peer::Tcp(Ipv4Addr::LOCALHOST.into());
        // anyone:pa:ss and :pa:ss, then :pass, x and what is no base64.
        for (header, expected) in [
            (Some("Basic YW55b25lOnBhOnNz"), 200),
            (Some("basic  OnBhOnNz"), 200),
            (Some("Basic OnBhc3M="), 401),
            (Some("Basic eA=="), 401),
            (Some("Basic ????"), 401),
            (Some("Bearer OnBhOnNz"), 401),
            (Some(""), 401),
            (None, 401),
        ] {
            assert_eq!(status(&config, here, &request("any.example", header)), expected, "{header:?}");
        }
        let long = format!("Basic {}", "QUJD".repeat(CREDENTIALS_BYTES_MAX));
        assert_eq!(status(&config, here, &request("a", Some(&long))), 401);
        assert_eq!(status(&config, Peer::Unix, &request("a", None)), 200);
    }

    #[test]
    fn without_a_password_this_host_is_answered() {
        let (mut config, other) = (Config::default(), Peer::Tcp(Ipv4Addr::new(192, 0, 2, 1).into()));
        let mapped = Peer::Tcp(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into());
        let rebound = request("evil.example:9121", None);
        for host in ["127.0.0.1", "127.0.0.1:9121", "localhost:9121", "LOCALHOST", "[::1]", "[::1]:9121"] {
            assert_eq!(status(&config, mapped, &request(host, None)), 200, "{host}");
            assert_eq!(status(&config, other, &request(host, None)), 403, "{host}");
        }
        for host in ["evil.example", "", "localhost.evil.example", "[::1]x", "127.0.0.1:x", "localhost:1:2"] {
            assert_eq!(status(&config, mapped, &request(host, None)), 403, "{host}");
        }
        assert_eq!(status(&config, Peer::Unix, &rebound), 200);
        config.protected_mode = false;
        assert_eq!(status(&config, other, &rebound), 200);
    }
}
