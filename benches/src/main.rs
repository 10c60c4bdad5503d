//! Side by side with what a person would use instead. Nothing is measured here yet.

fn main() {}
