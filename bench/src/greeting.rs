//! What is said first on a connection: who one is, which protocol is spoken, which database is used.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::address::Address;
use crate::operation::Answer;
use crate::{Fatal, fatal};

/// How connections begin, as the command line says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GreetingOptions {
    /// RESP3 is spoken.
    pub is_resp3: bool,
    /// The user; the default one if there is only a password.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database.
    pub database: Option<u32>,
}

/// Requests and how many replies they get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The requests.
    pub request: Vec<u8>,
    /// Their replies.
    pub replies: u64,
}

impl Greeting {
    /// As the options say.
    pub fn new(options: &GreetingOptions) -> Greeting {
        let mut greeting = Greeting::default();
        if let Some(password) = &options.password {
            match &options.user {
                Some(user) => greeting.command(&["AUTH", user, password]),
                None => greeting.command(&["AUTH", password]),
            }
        }
        if options.is_resp3 {
            greeting.command(&["HELLO", "3"]);
        }
        if let Some(database) = options.database {
            greeting.command(&["SELECT", &database.to_string()]);
        }
        greeting
    }

    fn command(&mut self, words: &[&str]) {
        self.request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.replies += 1;
    }

    /// What comes back, of unknown length.
    pub fn answer(&self) -> Answer {
        Answer { replies: self.replies, bytes: 0 }
    }

    /// Says it once to a server, so that a refusal is told before a run.
    pub fn check(&self, address: &Address, over: Option<&Arc<ClientConfig>>) -> Result<(), Fatal> {
        if self.replies == 0 {
            return Ok(());
        }
        let failed = |error: io::Error| Fatal(format!("cannot greet {address}: {error}"));
        let answer = address.ask_all(&self.request, self.replies, over).map_err(failed)?;
        let mut at = 0;
        while let Some((reply, length)) = crate::reply::parse(&answer[at..])? {
            if let crate::reply::Reply::Error(error) = reply {
                return fatal(format!("{address} refuses: {}", String::from_utf8_lossy(error)));
            }
            at += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_has_what_is_said() {
        assert_eq!(Greeting::new(&GreetingOptions::default()), Greeting::default());
        let options = GreetingOptions {
            is_resp3: true,
            user: Some("u".into()),
            password: Some("p w".into()),
            database: Some(3),
        };
        let greeting = Greeting::new(&options);
        let expected = "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$3\r\np w\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        assert_eq!(
            (String::from_utf8_lossy(&greeting.request).into_owned(), greeting.replies),
            (expected.into(), 3)
        );
    }
}
