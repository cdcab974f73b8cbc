//! Completion-based input and output with three backends.
