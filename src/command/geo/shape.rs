//! Areas that are searched, and distances on the earth.
//!
//! Design: distances are those of a sphere, by the haversine formula, in the order of operations of Redis, so that digits agree.

use super::hash::{Edges, Point, STEPS_MAX, Square};

/// Radius of the sphere, in metres.
const EARTH_RADIUS_M: f64 = 6_372_797.560856;
/// Half of the earth's circumference at the equator as Mercator has it, in metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const RADIANS: f64 = std::f64::consts::PI / 180.0;

/// The distance between two places, in metres.
pub(super) fn distance(one: Point, other: Point) -> f64 {
    let half = ((other.longitude * RADIANS - one.longitude * RADIANS) / 2.0).sin();
    if half == 0.0 {
        return latitude_distance(one.latitude, other.latitude);
    }
    let (from, to) = (one.latitude * RADIANS, other.latitude * RADIANS);
    let upright = ((to - from) / 2.0).sin();
    let square = upright * upright + from.cos() * to.cos() * half * half;
    2.0 * EARTH_RADIUS_M * square.sqrt().asin()
}

fn latitude_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS_M * (other * RADIANS - one * RADIANS).abs()
}

/// The form of an area, in metres.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Circle {
        radius: f64,
    },
    Box {
        width: f64,
        height: f64,
    },
    /// Its corners, in their order.
    Polygon(Vec<Point>),
}

/// An area.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub center: Point,
    pub form: Form,
}

impl Shape {
    /// The distance of a place from the centre, if it is inside.
    pub(super) fn distance_inside(&self, point: Point) -> Option<f64> {
        let center = self.center;
        match &self.form {
            Form::Circle { radius } => Some(distance(center, point)).filter(|found| found <= radius),
            Form::Box { width, height } => {
                let up = latitude_distance(point.latitude, center.latitude);
                let level = Point { longitude: center.longitude, latitude: point.latitude };
                let inside = up <= height / 2.0 && distance(point, level) <= width / 2.0;
                inside.then(|| distance(center, point))
            }
            Form::Polygon(corners) => is_within(point, corners).then(|| distance(center, point)),
        }
    }

    /// A box around it: half of its width and height in metres where it is given so.
    fn edges(&self) -> Edges {
        let (width, height) = match &self.form {
            Form::Circle { radius } => (*radius, *radius),
            Form::Box { width, height } => (width / 2.0, height / 2.0),
            Form::Polygon(corners) => return edges_of(corners),
        };
        let Point { longitude, latitude } = self.center;
        let up = height / EARTH_RADIUS_M / RADIANS;
        let across = |latitude: f64| width / EARTH_RADIUS_M / (latitude * RADIANS).cos() / RADIANS;
        // Degrees of longitude are shorter the further from the equator.
        let across = across(if latitude < 0.0 { latitude - up } else { latitude + up });
        Edges {
            west: longitude - across,
            south: latitude - up,
            east: longitude + across,
            north: latitude + up,
        }
    }

    fn radius(&self) -> f64 {
        match &self.form {
            Form::Circle { radius } => *radius,
            Form::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Form::Polygon(corners) => {
                corners.iter().map(|corner| distance(self.center, *corner)).fold(0.0, f64::max)
            }
        }
    }

    /// The squares that cover it, in the order in which Redis looks through them; none twice in a row.
    pub(super) fn squares(&self) -> Vec<Square> {
        let edges = self.edges();
        let mut middle = Square::of(self.center, steps_for(self.radius(), self.center.latitude));
        if middle.steps > 1 && !reaches(middle, &edges) {
            middle = Square::of(self.center, middle.steps - 1);
        }
        let own = middle.edges();
        // The middle square alone may reach as far as the area does; then what lies beyond is of no use.
        let wanted = |east: i32, north: i32| {
            let beyond = north < 0 && own.south < edges.south
                || north > 0 && own.north > edges.north
                || east < 0 && own.west < edges.west
                || east > 0 && own.east > edges.east;
            middle.steps < 2 || !beyond
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut squares: Vec<Square> = Vec::with_capacity(around.len());
        for (east, north) in around.into_iter().filter(|(east, north)| wanted(*east, *north)) {
            let square = middle.moved(east, north);
            // Where squares are huge, neighbours are the same.
            if squares.last() != Some(&square) {
                squares.push(square);
            }
        }
        squares
    }
}

/// How small squares may be so that nine of them cover a circle.
fn steps_for(radius: f64, latitude: f64) -> u32 {
    if radius == 0.0 {
        return STEPS_MAX;
    }
    let (mut range, mut steps) = (radius, 1_i32);
    while range < MERCATOR_MAX_M {
        range *= 2.0;
        steps += 1;
    }
    // Twice as large, so that the circle is covered wherever in the square its centre is.
    steps -= 2;
    // Towards the poles squares are narrower.
    steps -= i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    steps.clamp(1, STEPS_MAX as i32) as u32
}

/// Whether a square with its neighbours covers an area.
fn reaches(middle: Square, edges: &Edges) -> bool {
    middle.moved(0, 1).edges().north >= edges.north
        && middle.moved(0, -1).edges().south <= edges.south
        && middle.moved(1, 0).edges().east >= edges.east
        && middle.moved(-1, 0).edges().west <= edges.west
}

fn edges_of(corners: &[Point]) -> Edges {
    let longitudes = corners.iter().map(|corner| corner.longitude);
    let latitudes = corners.iter().map(|corner| corner.latitude);
    Edges {
        west: longitudes.clone().fold(f64::INFINITY, f64::min),
        south: latitudes.clone().fold(f64::INFINITY, f64::min),
        east: longitudes.fold(f64::NEG_INFINITY, f64::max),
        north: latitudes.fold(f64::NEG_INFINITY, f64::max),
    }
}

/// The place in the middle of some: that towards which the mean of their directions from the earth's centre points.
pub(super) fn middle_of(points: &[Point]) -> Point {
    let mut sum = [0.0; 3];
    for point in points {
        let (longitude, latitude) = (point.longitude * RADIANS, point.latitude * RADIANS);
        sum[0] += latitude.cos() * longitude.cos();
        sum[1] += latitude.cos() * longitude.sin();
        sum[2] += latitude.sin();
    }
    let [x, y, z] = sum.map(|part| part / points.len() as f64);
    Point { longitude: y.atan2(x) / RADIANS, latitude: z.atan2((x * x + y * y).sqrt()) / RADIANS }
}

/// Whether a line from a place to the east crosses the polygon's edges an odd number of times.
fn is_within(point: Point, corners: &[Point]) -> bool {
    let Some(last) = corners.last() else { return false };
    let mut before = *last;
    let mut inside = false;
    for corner in corners {
        let (one, other) = (*corner, before);
        if (one.latitude > point.latitude) != (other.latitude > point.latitude) {
            let slope = (other.longitude - one.longitude) / (other.latitude - one.latitude);
            inside ^= point.longitude < slope * (point.latitude - one.latitude) + one.longitude;
        }
        before = one;
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_redis() {
        let [palermo, catania] = [3_479_099_956_230_698.0, 3_479_447_370_796_909.0].map(Point::of_score);
        assert_eq!(format!("{:.4}", distance(palermo, catania)), "166274.1516");
        assert_eq!(distance(palermo, palermo), 0.0);
    }

    #[test]
    fn polygons_contain_what_is_inside() {
        let corners = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (2.0, 1.0), (0.0, 4.0)];
        let corners = corners.map(|(longitude, latitude)| Point { longitude, latitude });
        let inside = |longitude, latitude| is_within(Point { longitude, latitude }, &corners);
        assert!(inside(1.0, 0.5) && inside(3.5, 3.0) && inside(0.5, 3.0));
        assert!(!inside(2.0, 3.0) && !inside(5.0, 1.0) && !inside(-1.0, 1.0) && !inside(2.0, -0.1));
    }
}
