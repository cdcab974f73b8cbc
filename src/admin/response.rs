//! Bytes out of a response.

use std::borrow::Cow;
use std::io::Write as _;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is answered.
    Ok = 200,
    /// It is not understood.
    BadRequest = 400,
    /// A password is missing or wrong.
    Unauthorized = 401,
    /// This client is not served.
    Forbidden = 403,
    /// There is no such path.
    NotFound = 404,
    /// Only GET and HEAD are.
    MethodNotAllowed = 405,
    /// The request's line and headers are too long.
    HeadersTooLarge = 431,
    /// Not now.
    Unavailable = 503,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 8] = [
        Self::Ok,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::HeadersTooLarge,
        Self::Unavailable,
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::HeadersTooLarge => "Request Header Fields Too Large",
            Self::Unavailable => "Service Unavailable",
        }
    }
}

/// Plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Headers that every response has: nothing is kept by a cache, nothing is taken for what it is not, and a page gets its parts from
/// here only.
const HEADERS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
     Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n";

/// A response.
#[derive(Debug)]
pub struct Response {
    /// What became of the request.
    pub status: Status,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// With this body.
    pub fn new(status: Status, content_type: &'static str, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status, content_type, body: body.into() }
    }

    /// With a line of text.
    pub fn text(status: Status, text: &str) -> Self {
        Self::new(status, TEXT, format!("{text}\n").into_bytes())
    }

    /// With nothing more to say than its status.
    pub fn bare(status: Status) -> Self {
        Self::text(status, status.reason())
    }

    /// Its bytes; the body is left out of an answer to HEAD.
    pub fn bytes(&self, keeps_alive: bool, is_head: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 1024);
        let own = match self.status {
            Status::Unauthorized => "WWW-Authenticate: Basic realm=\"torc\", charset=\"UTF-8\"\r\n",
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            Status::Unavailable => "Retry-After: 1\r\n",
            _ => "",
        };
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        write!(
            bytes,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n{own}{HEADERS}\r\n",
            self.status as u16,
            self.status.reason(),
            self.content_type,
            self.body.len(),
        )
        .expect("writing to memory does not fail");
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}
