//! `tags`, `segments`, `lifecycles`, `journeys` and `timelines`.
//!
//! Owns: their keys, shapes and sentences. Never: reads a file.

use super::super::shape::{Field, Keys, Record, Shape};

/// `tags`: by entity, by name.
pub(super) const TAGS: Shape = Shape::Map(Keys::Identifier, &Shape::Map(Keys::Identifier, &Shape::SqlOr(&TAG)));
/// `segments`: by entity, by name.
pub(super) const SEGMENTS: Shape = Shape::Map(
    Keys::Identifier,
    &Shape::Map(Keys::Identifier, &Shape::Record(&SEGMENT)),
);
/// `lifecycles`: by entity.
pub(super) const LIFECYCLES: Shape = Shape::Map(Keys::Identifier, &Shape::Record(&LIFECYCLE));
/// `journeys`: by entity, by name.
pub(super) const JOURNEYS: Shape = Shape::Map(
    Keys::Identifier,
    &Shape::Map(Keys::Identifier, &Shape::Record(&JOURNEY)),
);
/// `timelines`: by entity, by kind of event.
pub(super) const TIMELINES: Shape = Shape::Map(Keys::Identifier, &Shape::Map(Keys::Identifier, &Shape::Record(&EVENT)));

static TAG: Record = Record {
    what: "a tag",
    fields: &[
        Field::required(
            "expr",
            Shape::Sql,
            "A condition over attributes, metrics and other tags.",
        ),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "What it says."),
    ],
};

static SEGMENT: Record = Record {
    what: "a segment",
    fields: &[
        Field::required("where", Shape::Sql, "A condition over attributes, metrics and tags."),
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "Whom it gathers, and what for."),
    ],
};

static LIFECYCLE: Record = Record {
    what: "a lifecycle",
    fields: &[Field::required(
        "stages",
        Shape::Map(Keys::Identifier, &Shape::Sql),
        "Conditions in order, over attributes, metrics, tags and `as_of`: the first that holds is the stage.",
    )],
};

static JOURNEY: Record = Record {
    what: "a journey",
    fields: &[
        Field::new("label", Shape::Label, "What people call it."),
        Field::new("description", Shape::Text, "Where it leads."),
        Field::required(
            "steps",
            Shape::Map(Keys::Identifier, &Shape::Record(&STEP)),
            "Its steps, in order.",
        ),
    ],
};

static STEP: Record = Record {
    what: "a step",
    fields: &[
        Field::new("label", Shape::Label, "What people call it."),
        Field::required("table", Shape::Table, "The table whose rows are the events."),
        Field::required("time", Shape::Text, "The column of the table that says when."),
        Field::new("where", Shape::Sql, "The rows of the table that count."),
    ],
};

static EVENT: Record = Record {
    what: "a kind of event",
    fields: &[
        Field::new("label", Shape::Label, "What people call it."),
        Field::required("table", Shape::Table, "The table whose rows are the events."),
        Field::required("time", Shape::Text, "The column of the table that says when."),
        Field::new("where", Shape::Sql, "The rows of the table that count."),
        Field::new("amount", Shape::Sql, "A number of the row, over its columns."),
        Field::new("detail", Shape::Sql, "What else to show of the row, over its columns."),
    ],
};
