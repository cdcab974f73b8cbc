//! The ends of ranges of a sorted set: by score, and by the members' bytes.

/// An end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// Never NaN.
    pub score: f64,
    /// Whether the score itself is outside.
    pub is_exclusive: bool,
}

/// A range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    pub min: ScoreBound,
    pub max: ScoreBound,
}

impl ScoreRange {
    /// Whether a score is not before the range.
    pub(super) fn begins_by(&self, score: f64) -> bool {
        if self.min.is_exclusive { score > self.min.score } else { score >= self.min.score }
    }

    /// Whether a score is not behind the range.
    pub(super) fn lasts_to(&self, score: f64) -> bool {
        if self.max.is_exclusive { score < self.max.score } else { score <= self.max.score }
    }
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    First,
    /// Behind all members.
    Last,
    /// At this one, which is inside.
    Inclusive(&'a [u8]),
    /// At this one, which is outside.
    Exclusive(&'a [u8]),
}

/// A range of members by their bytes, which means something where all scores are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    pub min: LexBound<'a>,
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether a member is not before the range.
    pub(super) fn begins_by(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::First => true,
            LexBound::Last => false,
            LexBound::Inclusive(min) => member >= min,
            LexBound::Exclusive(min) => member > min,
        }
    }

    /// Whether a member is not behind the range.
    pub(super) fn lasts_to(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::First => false,
            LexBound::Last => true,
            LexBound::Inclusive(max) => member <= max,
            LexBound::Exclusive(max) => member < max,
        }
    }

    /// Whether nothing can be inside.
    pub(super) fn is_empty(&self) -> bool {
        match (self.min, self.max) {
            (LexBound::First, LexBound::First) | (LexBound::Last, LexBound::Last) => true,
            (LexBound::First, _) | (_, LexBound::Last) => false,
            (LexBound::Last, _) | (_, LexBound::First) => true,
            (LexBound::Inclusive(min), LexBound::Inclusive(max)) => min > max,
            (
                LexBound::Inclusive(min) | LexBound::Exclusive(min),
                LexBound::Inclusive(max) | LexBound::Exclusive(max),
            ) => min >= max,
        }
    }
}
