//! Step 2 of a query's life: unified views become plans over governed tables.
//!
//! Owns: the views an entity has: its attributes (`entity_view`), and all that is known of it (`whole_view`, expanded by
//! `expand_wholes` with what a statement reads alone). Never: reads raw tables; a view runs as its caller on every base table.

pub(crate) mod check_wholes;
mod department_state;
pub(crate) mod entity_view;
pub(crate) mod expand_wholes;
mod instance_metrics;
mod segment_list;
pub(crate) mod view_cells;
pub(crate) mod whole_view;
