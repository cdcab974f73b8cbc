//! ACL LOAD and SAVE: the file that `aclfile` names.

use std::fs;

use super::all_channels;
use super::change::follow;
use crate::command::{Args, CommandError, Context, Outcome, catalog};
use crate::config::{Config, write_atomically};
use crate::resp::Reply;
use crate::security::{DeclarationError, User, Users, file_text, parse_file};

const NO_FILE: CommandError = CommandError::Text(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
);

/// The users of the file, or Redis's words for what is wrong.
fn read(users: &Users, config: &Config) -> Result<Vec<User>, Vec<u8>> {
    let path = config.aclfile.as_path();
    let text = fs::read(path).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or(&why);
        format!("Error loading ACLs, opening file '{}': {why}", path.display()).into_bytes()
    })?;
    let ground = users.ground(all_channels(config));
    parse_file(&text, path.as_os_str().as_encoded_bytes(), ground).map_err(|error| error.0)
}

/// The users that the configuration makes: once the command table is.
pub fn make_users(config: &Config) -> Result<Users, DeclarationError> {
    Users::new(catalog(), all_channels(config), &config.requirepass, &config.file_only.users)
}

/// At the start: the users are those of the file, if there is to be one.
pub fn read_users(users: &Users, config: &Config) -> Result<(), String> {
    if config.aclfile.is_empty() {
        return Ok(());
    }
    let why =
        |text: Vec<u8>| format!("Aborting startup because of ACL errors: {}", String::from_utf8_lossy(&text));
    users.replace(read(users, config).map_err(why)?, all_channels(config));
    Ok(())
}

pub(super) fn load(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let config = ctx.shared.config.load();
    if config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    match read(&ctx.shared.users, &config) {
        Ok(users) => {
            let changes = ctx.shared.users.replace(users, all_channels(&config));
            follow(ctx, &changes);
            reply.ok();
            Ok(())
        }
        Err(text) => {
            reply.error_bytes(&[b"ERR ", &*text].concat());
            Err(CommandError::Replied)
        }
    }
}

pub(super) fn save(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let config = ctx.shared.config.load();
    if config.aclfile.is_empty() {
        return Err(NO_FILE);
    }
    let text = file_text(&ctx.shared.users.load());
    if let Err(error) = write_atomically(config.aclfile.as_path(), &text) {
        log::warn!("ACL SAVE failed: {error}");
        return Err(CommandError::Text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        ));
    }
    reply.ok();
    Ok(())
}
