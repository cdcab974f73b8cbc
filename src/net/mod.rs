//! Listeners, connections and their queues.
