//! The tests of the whole product, one program.
//!
//! Owns: the list. Never: what a package can test by itself.

/// The audit log: what it holds, and that nothing leaves without it.
mod audit;
/// Three departments of a real bank, over live PostgreSQL, MariaDB and SQLite (`../shared/bank`, where it is).
mod bank;
/// Statements that can fail on a hidden row behave as if it were not there (INV-3, INV-5).
mod barrier;
/// Bounds: reached, they are errors (INV-6, INV-8).
mod bounds;
/// `caliber check` over projects broken in every way we know.
mod broken_projects;
/// A server lives past every bound (INV-6).
mod caps;
/// The program and its demo, as a newcomer meets them.
mod cli;
/// Random queries over hostile rows, pushed and local (INV-5).
mod differential;
/// Tables that change while they are served (INV-4).
mod drift;
/// Aggregates over joins, grouped at a source first (INV-5).
mod eager;
/// Sources that break, and an engine that says so and goes on (INV-8, INV-10).
mod faults;
/// One Caliber as the source of another (INV-5, INV-8).
mod flight_source;
/// Random queries by random principals, against plain DataFusion over what is visible (INV-3, INV-5).
mod fuzz;
/// Rows open in groups only.
mod groups;
/// Files read by the keys of the groups that a HAVING leaves (INV-5).
mod having;
/// `caliber identity`: a crosswalk built, explained, corrected.
mod identity;
/// Hostile text in every place a value or name can stand (INV-5).
mod injection;
/// Metrics of the real bank.
mod metrics;
/// Worlds that differ in hidden rows only give equal bytes (INV-3, INV-4).
mod noninterference;
/// What several policies at once mean, over two departments.
mod policies;
/// What `caliber policy` says of policies, and of a change of them.
mod policy_tools;
/// What leaves the sources of the bank, and the same answers with nothing pushed (INV-5).
mod pushdown;
/// `queries/slt/**/*.slt`, the principal as the connection's name.
mod slt;
/// What a statement says when a source fails.
mod source_failures;
/// A column of every type, pushed and local (INV-5).
mod torture;
/// The customer seen whole.
mod whole;
