//! What becomes of clients that listen when their user loses the right to.

use super::{SubscriptionKind, Subscriptions};
use crate::security::channel_is_in;

/// A user may not use all channels any more that it could use before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsLost {
    /// The user's number.
    pub user_id: u64,
    /// The patterns of channels that are left.
    pub left: Vec<Box<[u8]>>,
}

impl RightsLost {
    /// Whether any of these is not allowed any more. A pattern is, if it is among what is left to the letter.
    pub fn concerns(&self, all: &Subscriptions) -> bool {
        let is_lost = |kind: SubscriptionKind| {
            let is_pattern = kind == SubscriptionKind::Pattern;
            all.names(kind).any(|name| !channel_is_in(&self.left, name, is_pattern))
        };
        [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard]
            .into_iter()
            .any(is_lost)
    }
}
