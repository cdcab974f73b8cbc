//! LOLWUT: a torc, the twisted neck ring, drawn anew each time.
//!
//! Design: a ring seen from the front, open at the bottom, its two wires wound around each other: a cell is on the ring if
//! its distance from the centre is about the radius; which wire is in front there follows from the angle.

use std::f64::consts::TAU;

use super::{Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::CommandError;
use crate::config::REDIS_VERSION;
use crate::resp::number::parse_i64;

const COLUMNS_DEFAULT: i64 = 44;
const COLUMNS_MIN: i64 = 24;
const COLUMNS_MAX: i64 = 160;
/// Twists of the wires around the ring: least, and how many more there may be.
const TWISTS: (u64, u64) = (8, 17);
/// Half of the opening at the bottom, as a share of the whole turn.
const OPENING: f64 = 0.045;
/// Half of the ring's thickness, as a share of its radius.
const THICKNESS: f64 = 0.16;

/// LOLWUT.
pub const ROW: Command = Command {
    name: "lolwut",
    arity: -1,
    flags: Flags::READONLY.with(Flags::FAST),
    since: "5.0.0",
    complexity: "",
    summary: "Draws a picture, and says the version.",
    syntax: "[VERSION version]",
    handler: lolwut,
    ..SERVER
};

fn lolwut(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut first = 1;
    if args.len() >= 3 && args.is(1, "VERSION") {
        parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
        first = 3;
    }
    let columns = match args.find(first) {
        // Redis takes words that it does not know for no arguments of the drawing.
        Some(text) if first == 3 => parse_i64(text).ok_or(CommandError::NotInteger)?,
        Some(text) => parse_i64(text).unwrap_or(COLUMNS_DEFAULT),
        None => COLUMNS_DEFAULT,
    };
    let twists = TWISTS.0 + ctx.rng.below(TWISTS.1);
    let mut text = draw(columns.clamp(COLUMNS_MIN, COLUMNS_MAX), twists as f64);
    text += &format!("\nA torc: {twists} twists, worn around the neck. Redis ver. {REDIS_VERSION}\n");
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn draw(columns: i64, twists: f64) -> String {
    let radius = columns as f64 / 2.0 / (1.0 + THICKNESS);
    let mut text = String::new();
    // A cell is about twice as high as wide.
    for row in 0..=columns / 2 {
        let mut line = String::new();
        for column in 0..columns {
            let x = (column as f64 + 0.5 - columns as f64 / 2.0) / radius;
            let y = (row as f64 * 2.0 - columns as f64 / 2.0) / radius;
            line.push(cell(x, y, twists));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// What is seen at a place, the centre being (0, 0) and the radius 1.
fn cell(x: f64, y: f64, twists: f64) -> char {
    let offset = (x.hypot(y) - 1.0) / THICKNESS;
    if offset.abs() > 1.0 {
        return ' ';
    }
    // The share of the turn from the bottom.
    let turn = (x.atan2(y) / TAU).rem_euclid(1.0);
    let to_opening = turn.min(1.0 - turn);
    if to_opening < OPENING {
        return ' ';
    }
    if to_opening < OPENING * 1.8 {
        return '@';
    }
    // Two wires, half a twist apart, swing across the thickness; the nearer one to the place is seen.
    let phase = turn * twists * TAU;
    let (one, other) = ((offset - phase.sin()).abs(), (offset + phase.sin()).abs());
    match (one < other, one.min(other)) {
        (true, gap) if gap < 0.45 => '\\',
        (false, gap) if gap < 0.45 => '/',
        _ => ':',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_and_twist_is_drawn_within_its_width() {
        for columns in [COLUMNS_MIN, COLUMNS_DEFAULT, COLUMNS_MAX] {
            for twists in 8..24 {
                let text = draw(columns, f64::from(twists));
                assert!(text.contains('@'), "the ends are seen");
                assert!(text.lines().all(|line| line.len() <= columns as usize));
                assert_eq!(text.lines().count() as i64, columns / 2 + 1);
            }
        }
    }
}
