//! The chunk: gather, lease, prefetch, run.
