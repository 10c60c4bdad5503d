//! Step 2 of a query's life: unified views become plans over governed tables.
//!
//! Owns: the views an entity has. Never: reads raw tables; a view runs as its caller on every base table.

pub(crate) mod check_wholes;
pub(crate) mod entity_view;
pub(crate) mod view_cells;
