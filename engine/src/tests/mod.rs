//! Tests of the whole engine that need what ships with no switch for: a function of their own in the base state.
//!
//! Owns: the list. Never: compiled into what ships.

mod analyze;
mod memory_source;
mod recording;
mod shapes;
mod templates;
