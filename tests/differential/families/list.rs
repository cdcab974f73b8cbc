//! The family `list`: short lists of small elements, and limits that change, so that lists have one node and several.

use super::Family;
use crate::differential::shapes::{Shape, exact, rare};

/// The family.
pub const FAMILY: Family = Family { name: "list", shapes: SHAPES, words: &[], state: &[] };

const SHAPES: &[Shape] = &[
    exact("LPUSH L E+"),
    exact("RPUSH L E+"),
    exact("RPUSH L E+ E+ E+"),
    exact("LPUSHX L E+"),
    exact("RPUSHX L E+"),
    exact("LPOP L (R|)"),
    exact("RPOP L (R|)"),
    exact("LLEN L"),
    exact("LRANGE L R R"),
    exact("LINDEX L R"),
    exact("LSET L R E"),
    exact("LINSERT L (BEFORE|AFTER) E E"),
    exact("LREM L (0|1|2|-1|-2|5|-100|9223372036854775807|-9223372036854775808|abc) E"),
    rare("LTRIM L R R"),
    exact("LPOS L E (RANK,R|) (COUNT,R|) (MAXLEN,R|)"),
    exact("LMOVE L L (LEFT|RIGHT) (LEFT|RIGHT)"),
    exact("RPOPLPUSH L L"),
    exact("LMPOP 1 L (LEFT|RIGHT) (COUNT,R|)"),
    exact("LMPOP 2 L L (LEFT|RIGHT) (COUNT,R|)"),
    // Numbers are not stored, and LIMIT does not meet equal weights: see `generic::sort`.
    exact("SORT L (LIMIT,R,R|) (GET,J|GET,#|) (GET,J|) (ASC|DESC|)"),
    exact("SORT L BY J (LIMIT,R,R|) (GET,J|GET,#|) (ASC|DESC|)"),
    exact("SORT L ALPHA (BY,J|) (DESC|) (GET,J|) (GET,J|GET,#|) (STORE,L|)"),
    exact("SORT L ALPHA (LIMIT,R,R|) (DESC|) (GET,J|) (STORE,L|)"),
    exact("SORT L BY (K|nosort) (LIMIT,R,R|) (DESC|) (GET,J|GET,#|) (STORE,L|) (BY,K|)"),
    exact("SORT_RO L (ALPHA|) (BY,J|) (GET,J|GET,#|) (GET,J|)"),
    exact("OBJECT ENCODING L"),
    exact("COPY L L (REPLACE|)"),
    rare("DEL L"),
    rare("SET K V"),
    rare("CONFIG SET list-max-listpack-size (-2|-2|-1|2|5|64)"),
];
