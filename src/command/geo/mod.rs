//! The family `geo`: places as members of sorted sets, whose scores are geohashes.
//!
//! | file | what |
//! |---|---|
//! | `hash` | places as numbers, and squares of the earth |
//! | `shape` | areas and distances |
//! | `look` | GEOADD, GEOPOS, GEODIST, GEOHASH |
//! | `options` | what a search is asked for |
//! | `search` | GEOSEARCH, GEOSEARCHSTORE, GEORADIUS and its relatives |
//!
//! Design: every digit and every order is Redis's, so formulas keep its order of operations.

mod hash;
mod look;
mod options;
mod rows;
mod search;
mod shape;

pub use rows::ROWS;

use super::{Args, CommandError};
use crate::resp::Reply;
use crate::resp::number::parse_f64;
use hash::Point;

const BAD_UNIT: CommandError = CommandError::Text("ERR unsupported unit provided. please use M, KM, FT, MI");

/// How many metres the unit of argument `index` has.
fn unit_at(args: &Args<'_>, index: usize) -> Result<f64, CommandError> {
    let units = [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)];
    let known = units.iter().find(|(name, _)| args.is(index, name));
    known.map(|(_, metres)| *metres).ok_or(BAD_UNIT)
}

/// The place that two arguments name.
fn point_at(args: &Args<'_>, index: usize, reply: &mut Reply<'_>) -> Result<Point, CommandError> {
    let [longitude, latitude] =
        [index, index + 1].map(|index| parse_f64(args.at(index)).ok_or(CommandError::NotFloat));
    let point = Point { longitude: longitude?, latitude: latitude? };
    if point.is_valid() {
        return Ok(point);
    }
    let (longitude, latitude) = (point.longitude, point.latitude);
    reply.error_fmt(format_args!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"));
    Err(CommandError::Replied)
}

/// A distance with four digits behind the point.
fn reply_distance(distance: f64, reply: &mut Reply<'_>) {
    let scaled = (distance * 10_000.0).round_ties_even();
    reply.bulk_fmt(format_args!("{:.4}", scaled / 10_000.0));
}

/// A place: its longitude and its latitude.
fn reply_point(point: Point, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.double(point.longitude);
    reply.double(point.latitude);
}
