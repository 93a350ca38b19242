//! The listener for operators: health, metrics.
