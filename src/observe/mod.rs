//! What the server says of itself: INFO, slow log, histograms.
