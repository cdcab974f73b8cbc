//! Which path is answered by what.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::access::{self, Peer};
use super::health;
use super::metrics::{self, Scrape};
use super::request::Request;
use super::response::{Response, Status};
use super::state;
use crate::command::Shared;

/// A part of the live page.
fn page(content_type: &'static str, text: &'static [u8]) -> Response {
    Response::new(Status::Ok, content_type, text)
}

/// What the answers are made of.
pub struct Site {
    shared: Arc<Shared>,
    /// Responses so far, by the place of their status in [`Status::ALL`].
    responses: [u64; Status::ALL.len()],
}

impl Site {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, responses: Default::default() }
    }

    /// A response of this status is sent.
    pub fn count(&mut self, status: Status) {
        let place = Status::ALL.iter().position(|known| *known == status);
        self.responses[place.expect("all are listed")] += 1;
    }

    /// The answer. Whether the server is well is told to everyone: who asks that is often too simple to know a password.
    pub fn answer(&mut self, peer: Peer, request: &Request) -> Response {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now_ms, now_us) = (now.as_millis() as u64, now.as_micros() as u64);
        match request.path.as_str() {
            "/healthz" => return health::healthz(&self.shared, now_ms),
            "/readyz" => return health::readyz(&self.shared),
            _ => {}
        }
        let config = self.shared.config.load();
        if let Err(refusal) = access::check(&config, peer, request) {
            return refusal;
        }
        match request.path.as_str() {
            "/metrics" => self.metrics(now_us),
            "/state.json" => {
                let text = state::state(&self.shared, now_us, health::unready(&self.shared));
                Response::new(Status::Ok, "application/json", text.into_bytes())
            }
            "/" => page("text/html; charset=utf-8", include_bytes!("page/index.html")),
            "/page.css" => page("text/css; charset=utf-8", include_bytes!("page/page.css")),
            "/page.js" => page("text/javascript; charset=utf-8", include_bytes!("page/page.js")),
            _ => Response::bare(Status::NotFound),
        }
    }

    fn metrics(&self, now_us: u64) -> Response {
        let responses = Status::ALL.iter().zip(self.responses);
        let responses = responses.map(|(status, count)| (*status as u16, count)).collect();
        let text = metrics::text(Scrape { shared: Arc::clone(&self.shared), now_us, responses });
        Response::new(Status::Ok, metrics::CONTENT_TYPE, text.into_bytes())
    }
}
