//! The project format's `identity` of an entity, as tables.
//!
//! Owns: its keys, their shapes and sentences. Never: what a field's name leads to (`model::identity`).

use super::super::shape::{Field, Keys, Record, Shape};
use crate::identity::{COMPARISONS, NORMALISERS};

pub(super) static IDENTITY: Record = Record {
    what: "`identity`",
    fields: &[
        Field::required(
            "role",
            Shape::Text,
            "The role as which the records are read: its policies show their columns clear.",
        ),
        Field::new(
            "file",
            Shape::Path,
            "Where the crosswalk is kept; default identity/ENTITY.csv.",
        ),
        Field::required(
            "sources",
            Shape::Map(Keys::Table, &Shape::Record(&SOURCE)),
            "The tables that hold records, one row each.",
        ),
        Field::required(
            "fields",
            Shape::Map(Keys::Identifier, &Shape::Record(&FIELD)),
            "What records have in common.",
        ),
        Field::new(
            "exact",
            Shape::Map(Keys::Any, &Shape::OneOrMany(&Shape::Text)),
            "By rule, the fields that make two records one where all are equal; the strongest rule first.",
        ),
        Field::new(
            "blocking",
            Shape::List(&Shape::OneOrMany(&Shape::Text)),
            "Records are compared that agree on all parts of one of these: NAME, first(NAME, N), last(NAME, N), soundex(NAME).",
        ),
        Field::new(
            "match",
            Shape::Integer(1, 99),
            "The probability in percent from which two records are one; default 95.",
        ),
        Field::new(
            "review",
            Shape::Integer(1, 99),
            "The probability in percent from which a steward should look; default 50.",
        ),
    ],
};

static SOURCE: Record = Record {
    what: "a source of records",
    fields: &[
        Field::required("key", Shape::Text, "The column that names a record."),
        Field::new(
            "unique",
            Shape::Bool,
            "Whether the table has each instance of the entity once; default false.",
        ),
        Field::required(
            "fields",
            Shape::Map(Keys::Identifier, &Shape::Text),
            "By field, the column that holds it.",
        ),
    ],
};

static FIELD: Record = Record {
    what: "a field",
    fields: &[
        Field::new(
            "normalise",
            Shape::OneOrMany(&Shape::Choice(NORMALISERS)),
            "What happens to a value before it is compared, in order.",
        ),
        Field::new(
            "compare",
            Shape::Choice(COMPARISONS),
            "How two values are compared for the score; without it the field is for exact rules and blocking.",
        ),
        Field::new(
            "frequency",
            Shape::Bool,
            "Whether agreement on a rare value counts for more; default false.",
        ),
        Field::new(
            "formats",
            Shape::OneOrMany(&Shape::Text),
            "The formats that `date` reads, as strftime writes them.",
        ),
        Field::new(
            "country",
            Shape::Text,
            "The calling code that `phone` gives national numbers, digits only.",
        ),
    ],
};
