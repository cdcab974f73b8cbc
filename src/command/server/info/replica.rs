//! What INFO says of a replica's link to its primary.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::InfoContext;
use super::text::InfoText;
use crate::replicate::LinkState;

/// The lines behind the role.
pub fn replica(info: &InfoContext<'_>, text: &mut InfoText) {
    let (shared, config, now_ms) = (info.shared, info.config, info.now_ms);
    let (replication, link) = (&shared.replication, &shared.link);
    let Some(primary) = replication.primary().as_deref().cloned() else { return };
    let state = replication.link();
    let since_s = |counter: &AtomicU64| match counter.load(Relaxed) {
        0 => -1,
        ms => (now_ms.saturating_sub(ms) / 1000) as i64,
    };
    text.line("master_host", &primary.host);
    text.line("master_port", primary.port);
    text.line("master_link_status", if state == LinkState::Connected { "up" } else { "down" });
    text.line("master_last_io_seconds_ago", since_s(&link.heard_ms));
    text.line("master_sync_in_progress", u8::from(state == LinkState::Sync));
    // Between two snapshots Redis has no offset either.
    let (applied, read) = match link.is_torn() {
        true => (1, 1),
        false => (replication.offset(), link.read_offset.load(Relaxed).max(replication.offset())),
    };
    text.line("slave_read_repl_offset", read);
    text.line("slave_repl_offset", applied);
    text.line("replica_full_sync_buffer_size", link.kept_bytes.size.load(Relaxed));
    text.line("replica_full_sync_buffer_peak", link.kept_bytes.peak.load(Relaxed));
    text.line("master_current_sync_attempts", link.attempts.load(Relaxed));
    text.line("master_total_sync_attempts", link.attempts_all.load(Relaxed));
    if state == LinkState::Sync {
        let (total, read) = (link.progress.total.load(Relaxed), link.progress.read.load(Relaxed));
        text.line("master_sync_total_bytes", total);
        text.line("master_sync_read_bytes", read);
        text.line("master_sync_left_bytes", total as i64 - read as i64);
        let percent = if total == 0 { 0.0 } else { read as f64 * 100.0 / total as f64 };
        text.line("master_sync_perc", format_args!("{percent:.2}"));
        text.line("master_sync_last_io_seconds_ago", since_s(&link.progress.last_ms));
    }
    match state {
        LinkState::Connected => text.line("master_link_up_since_seconds", since_s(&link.up_since_ms)),
        _ => text.line("master_link_down_since_seconds", since_s(&link.down_since_ms)),
    }
    let down_ms = link.down_ms.load(Relaxed);
    let now_down_ms = match link.down_since_ms.load(Relaxed) {
        0 => 0,
        since_ms => now_ms.saturating_sub(since_ms),
    };
    text.line("total_disconnect_time_sec", (down_ms + now_down_ms) / 1000);
    text.line("slave_priority", config.replica_priority);
    text.line("slave_read_only", u8::from(config.replica_read_only));
    text.line("replica_announced", u8::from(config.replica_announced));
}
