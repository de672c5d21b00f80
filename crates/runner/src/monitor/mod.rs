//! The instruments of a run.
