//! What a search is asked for. Options are read in the order in which they stand, and each is checked as it is read, since that
//! decides which error a client sees.

use super::super::row::KeyAccess;
use super::super::{Args, CommandError, Scope};
use super::hash::Point;
use super::shape::{Form, Shape, middle_of};
use super::{point_at, unit_at};
use crate::resp::Reply;
use crate::resp::number::{parse_f64, parse_i64};
use crate::store::SortedSet;

const NO_MEMBER: CommandError = CommandError::Text("ERR could not decode requested zset member");
const NOT_A_RADIUS: CommandError = CommandError::Text("ERR need numeric radius");
const NOT_A_WIDTH: CommandError = CommandError::Text("ERR need numeric width");
const NOT_A_HEIGHT: CommandError = CommandError::Text("ERR need numeric height");
const NEGATIVE_RADIUS: CommandError = CommandError::Text("ERR radius cannot be negative");
const NEGATIVE_BOX: CommandError = CommandError::Text("ERR height or width cannot be negative");
const COUNT: CommandError = CommandError::Text("ERR COUNT must be > 0");
const FEW_CORNERS: CommandError = CommandError::Text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices");
const BAD_CORNERS: CommandError = CommandError::Text("ERR invalid number of vertices");
const ANY: CommandError = CommandError::Text("ERR the ANY argument requires COUNT argument");
const STORE_WITH: CommandError = CommandError::Text(
    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
);
const SEARCHSTORE_WITH: CommandError =
    CommandError::Text("ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options");

/// The keys of GEORADIUS and GEORADIUSBYMEMBER: what is searched, and what STORE names where a key stands behind it.
pub(super) fn find_keys(args: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    const OPTIONS_FIRST: usize = 5;
    found(1, KeyAccess::Read);
    for word in ["STORE", "STOREDIST"] {
        // The last one counts, and only the options can tell which that is.
        let stores = (OPTIONS_FIRST..args.len() - 1).filter(|index| args.is(*index, word));
        stores.for_each(|index| found(index + 1, KeyAccess::Overwrite));
    }
    Scope::Keys
}

/// How a command says where to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Center {
    /// GEORADIUS: a place and a radius come first.
    Place,
    /// GEORADIUSBYMEMBER: a member and a radius come first.
    Member,
    /// GEOSEARCH: options say it.
    Options,
}

/// What a command's form allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandForm {
    pub center: Center,
    /// The key that is searched.
    pub source: usize,
    /// STORE and STOREDIST with a key are known.
    pub may_store: bool,
    /// GEOSEARCHSTORE: the key to store in comes first.
    pub stores: bool,
}

/// The order of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Found,
    Nearest,
    Farthest,
}

/// A search.
pub(super) struct Search {
    /// None where the key does not exist, so that nothing depends on it.
    pub shape: Option<Shape>,
    /// Metres of the unit of distances.
    pub metres: f64,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_place: bool,
    pub order: Order,
    /// 0: all.
    pub count: usize,
    /// The first ones found do.
    pub any: bool,
    /// The argument that is the key to store in.
    pub target: Option<usize>,
    pub stores_distance: bool,
}

/// What options have said so far of where to search.
#[derive(Default)]
struct Area {
    center: Option<Point>,
    has_center: bool,
    form: Option<(Form, f64)>,
}

impl Area {
    /// Whether nothing was said yet.
    fn is_open(&self) -> bool {
        !self.has_center && self.form.is_none()
    }
}

impl Search {
    /// `source` is what is searched, if it exists.
    pub(super) fn parse(
        args: &Args<'_>,
        kind: CommandForm,
        source: Option<SortedSet<'_>>,
        reply: &mut Reply<'_>,
    ) -> Result<Search, CommandError> {
        let mut area = Area::default();
        let mut index = kind.source + 1;
        match kind.center {
            Center::Place => {
                area.center = Some(point_at(args, index, reply)?);
                area.form = Some(circle_at(args, index + 2)?);
                index += 4;
            }
            Center::Member => {
                if source.is_some() {
                    area.center = Some(member_at(args, index, source)?);
                    area.form = Some(circle_at(args, index + 1)?);
                }
                index += 3;
            }
            Center::Options => {}
        }
        let mut search = Search {
            shape: None,
            metres: 1.0,
            with_distance: false,
            with_hash: false,
            with_place: false,
            order: Order::Found,
            count: 0,
            any: false,
            target: kind.stores.then_some(1),
            stores_distance: false,
        };
        while index < args.len() {
            index += search.option(args, index, kind, source, &mut area, reply)?;
        }
        search.check(args, kind, &area, reply)?;
        if let (Some(center), Some((form, metres))) = (area.center, area.form) {
            search.shape = Some(Shape { center, form });
            search.metres = metres;
        }
        if search.count > 0 && search.order == Order::Found && !search.any {
            // Those are the closest.
            search.order = Order::Nearest;
        }
        Ok(search)
    }

    /// Reads the option at an argument; how many arguments it takes.
    fn option(
        &mut self,
        args: &Args<'_>,
        index: usize,
        kind: CommandForm,
        source: Option<SortedSet<'_>>,
        area: &mut Area,
        reply: &mut Reply<'_>,
    ) -> Result<usize, CommandError> {
        let behind = args.len() - index - 1;
        let searches = kind.center == Center::Options;
        if args.is(index, "WITHDIST") {
            self.with_distance = true;
        } else if args.is(index, "WITHHASH") {
            self.with_hash = true;
        } else if args.is(index, "WITHCOORD") {
            self.with_place = true;
        } else if args.is(index, "ANY") {
            self.any = true;
        } else if args.is(index, "ASC") {
            self.order = Order::Nearest;
        } else if args.is(index, "DESC") {
            self.order = Order::Farthest;
        } else if args.is(index, "COUNT") && behind >= 1 {
            let count = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
            self.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(COUNT)?;
            return Ok(2);
        } else if kind.may_store && behind >= 1 && (args.is(index, "STORE") || args.is(index, "STOREDIST")) {
            self.target = Some(index + 1);
            self.stores_distance = args.is(index, "STOREDIST");
            return Ok(2);
        } else if searches && args.is(index, "FROMMEMBER") && behind >= 1 && !area.has_center {
            area.has_center = true;
            if source.is_some() {
                area.center = Some(member_at(args, index + 1, source)?);
            }
            return Ok(2);
        } else if searches && args.is(index, "FROMLONLAT") && behind >= 2 && !area.has_center {
            area.has_center = true;
            area.center = Some(point_at(args, index + 1, reply)?);
            return Ok(3);
        } else if searches && args.is(index, "BYRADIUS") && behind >= 2 && area.form.is_none() {
            area.form = Some(circle_at(args, index + 1)?);
            return Ok(3);
        } else if searches && args.is(index, "BYBOX") && behind >= 3 && area.form.is_none() {
            area.form = Some(box_at(args, index + 1)?);
            return Ok(4);
        } else if searches && args.is(index, "BYPOLYGON") && behind >= 1 && area.is_open() {
            let corners = corners_at(args, index + 1, reply)?;
            let taken = 2 + 2 * corners.len();
            area.has_center = true;
            area.center = Some(middle_of(&corners));
            area.form = Some((Form::Polygon(corners), 1.0));
            return Ok(taken);
        } else if kind.stores && args.is(index, "STOREDIST") {
            self.stores_distance = true;
        } else {
            return Err(CommandError::Syntax);
        }
        Ok(1)
    }

    /// What can only be said once all options are known.
    fn check(
        &self,
        args: &Args<'_>,
        kind: CommandForm,
        area: &Area,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            return Err(if kind.stores { SEARCHSTORE_WITH } else { STORE_WITH });
        }
        if kind.center == Center::Options {
            let missing = match (area.has_center, &area.form) {
                (false, _) => Some("exactly one of FROMMEMBER or FROMLONLAT can be specified for"),
                (true, None) => Some("exactly one of BYRADIUS and BYBOX can be specified for"),
                (true, Some(_)) => None,
            };
            if let Some(missing) = missing {
                let mut text = format!("ERR {missing} ").into_bytes();
                text.extend_from_slice(args.c_string(0));
                reply.error_bytes(&text);
                return Err(CommandError::Replied);
            }
        }
        if self.any && self.count == 0 { Err(ANY) } else { Ok(()) }
    }
}

fn member_at(args: &Args<'_>, index: usize, source: Option<SortedSet<'_>>) -> Result<Point, CommandError> {
    let score = source.and_then(|source| source.score(args.at(index)));
    score.map(Point::of_score).ok_or(NO_MEMBER)
}

/// A radius and its unit: the form, and the metres of the unit.
fn circle_at(args: &Args<'_>, index: usize) -> Result<(Form, f64), CommandError> {
    let radius = parse_f64(args.at(index)).ok_or(NOT_A_RADIUS)?;
    if radius < 0.0 {
        return Err(NEGATIVE_RADIUS);
    }
    let metres = unit_at(args, index + 1)?;
    Ok((Form::Circle { radius: radius * metres }, metres))
}

/// A width, a height and their unit.
fn box_at(args: &Args<'_>, index: usize) -> Result<(Form, f64), CommandError> {
    let width = parse_f64(args.at(index)).ok_or(NOT_A_WIDTH)?;
    let height = parse_f64(args.at(index + 1)).ok_or(NOT_A_HEIGHT)?;
    if width < 0.0 || height < 0.0 {
        return Err(NEGATIVE_BOX);
    }
    let metres = unit_at(args, index + 2)?;
    Ok((Form::Box { width: width * metres, height: height * metres }, metres))
}

/// The corners of a polygon behind the argument that says how many there are.
fn corners_at(args: &Args<'_>, index: usize, reply: &mut Reply<'_>) -> Result<Vec<Point>, CommandError> {
    const CORNERS_MIN: usize = 3;
    let given = (args.len() - index - 1) / 2;
    let count = parse_i64(args.at(index)).ok_or(BAD_CORNERS)?;
    let Some(count) = usize::try_from(count).ok().filter(|count| (CORNERS_MIN..=given).contains(count))
    else {
        return Err(FEW_CORNERS);
    };
    (0..count).map(|corner| point_at(args, index + 1 + 2 * corner, reply)).collect()
}
