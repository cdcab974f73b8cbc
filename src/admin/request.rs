//! A request out of bytes: its line and those headers that matter here.
//!
//! Design: `httparse` finds lines and headers; here is decided what is refused. Nothing is guessed: what two readers could understand
//! differently (two hosts, a body where none belongs) is a bad request.
//!
//! Costs: what is kept of a request is copied.

use super::response::Status;

/// Bytes of a request's line and headers.
pub const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a request.
    Partial,
    /// A request, and how many bytes it has.
    Whole(Request, usize),
    /// Nothing that can be answered otherwise than so.
    Refused(Status),
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether only the headers of the response are wanted.
    pub is_head: bool,
    /// The path, without what follows a question mark.
    pub path: String,
    /// The host that the client believes this to be.
    pub host: Option<String>,
    /// The value of `Authorization`.
    pub authorization: Option<Vec<u8>>,
    /// Whether the connection stays open.
    pub keeps_alive: bool,
}

/// Reads the beginning of `input`.
pub fn parse(input: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Ok(httparse::Status::Complete(length)) if length <= REQUEST_BYTES_MAX => {
            judge(&request).map_or_else(Parsed::Refused, |request| Parsed::Whole(request, length))
        }
        Ok(httparse::Status::Partial) if input.len() < REQUEST_BYTES_MAX => Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Status::HeadersTooLarge),
        Err(_) => Parsed::Refused(Status::BadRequest),
    }
}

fn judge(parsed: &httparse::Request<'_, '_>) -> Result<Request, Status> {
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    if !path.starts_with('/') {
        return Err(Status::BadRequest);
    }
    let is_newer = parsed.version == Some(1);
    let mut request = Request { is_head, path, host: None, authorization: None, keeps_alive: is_newer };
    for header in parsed.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let has = |word: &str| {
            let mut words = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            words.any(|one| one.eq_ignore_ascii_case(word.as_bytes()))
        };
        if is("host") {
            let host = std::str::from_utf8(header.value).map_err(|_| Status::BadRequest)?;
            if request.host.replace(host.to_owned()).is_some() {
                return Err(Status::BadRequest);
            }
        } else if is("authorization") {
            if request.authorization.replace(header.value.to_vec()).is_some() {
                return Err(Status::BadRequest);
            }
        } else if is("connection") {
            request.keeps_alive = (request.keeps_alive || has("keep-alive")) && !has("close");
        } else if is("transfer-encoding") || is("content-length") && header.value != b"0" {
            return Err(Status::BadRequest);
        }
    }
    if is_newer && request.host.is_none() {
        return Err(Status::BadRequest);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<Status> {
        match parse(text.as_bytes()) {
            Parsed::Refused(status) => Some(status),
            _ => None,
        }
    }

    #[test]
    fn a_request_is_read_as_far_as_it_matters() {
        let text = "GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\nAuthorization: Basic eDp5\r\nX: y\r\n\r\nmore";
        let request = Request {
            is_head: false,
            path: "/metrics".to_owned(),
            host: Some("a:1".to_owned()),
            authorization: Some(b"Basic eDp5".to_vec()),
            keeps_alive: true,
        };
        assert_eq!(parse(text.as_bytes()), Parsed::Whole(request, text.len() - 4));
        for end in 0..text.len() - 4 {
            assert_eq!(parse(&text.as_bytes()[..end]), Parsed::Partial, "{end}");
        }
    }

    #[test]
    fn connections_stay_open_as_the_version_has_it() {
        for (text, expected) in [
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", false),
        ] {
            let Parsed::Whole(request, _) = parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(
                (request.keeps_alive, request.is_head),
                (expected, text.starts_with("HEAD")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_refused() {
        let bad = [
            "\u{0}\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET x HTTP/1.0\r\n\r\n",
            "GET http://a/ HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
            "GET / HTTP/1.0\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.0\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
            "GET / HTTP/1.0\r\nA : b\r\n\r\n",
            "*1\r\n$4\r\nPING\r\n",
        ];
        for text in bad {
            assert_eq!(refused(text), Some(Status::BadRequest), "{text}");
        }
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Status::MethodNotAllowed));
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let long = format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "b".repeat(REQUEST_BYTES_MAX));
        let endless = format!("GET /{}", "b".repeat(REQUEST_BYTES_MAX));
        for text in [many, long, endless] {
            assert_eq!(refused(&text), Some(Status::HeadersTooLarge));
        }
    }
}
