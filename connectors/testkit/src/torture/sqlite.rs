//! What SQLite can hold, under every declared type and some that are none.
//!
//! Owns: its columns and values. Never: what another library of SQLite's would make of them.

use super::{Column, Refused};

const fn column(name: &'static str, declared: &'static str, values: &'static [&'static str]) -> Column {
    Column { name, declared, values }
}

/// Every declared type.
pub const COLUMNS: &[Column] = &[
    column(
        "number",
        "INTEGER",
        &["-9223372036854775808", "0", "9007199254740993", "9223372036854775807"],
    ),
    column("tiny", "TINYINT", &["-128", "127"]),
    column("big", "UNSIGNED BIG INT", &["-1", "9223372036854775807"]),
    column(
        "real_number",
        "REAL",
        &[
            "0.0",
            "-0.0",
            "0.1",
            "5e-324",
            "1.7976931348623157e308",
            "9e999",
            "-9e999",
            "1",
        ],
    ),
    column("double_number", "DOUBLE PRECISION", &["0.5", "9007199254740993.0", "3"]),
    column("bare", "NUMERIC", &["0", "0.5", "9007199254740992", "1e300"]),
    column(
        "amount",
        "DECIMAL(12,2)",
        &["0", "-0.01", "9999999999.99", "'-9999999999.99'", "10000", "0.1"],
    ),
    column("wide", "NUMERIC(38,10)", &["0", "12.5", "0.0000000001", "-99999.5"]),
    column("truth", "BOOLEAN", &["0", "1", "TRUE"]),
    column(
        "day",
        "DATE",
        &["'0000-01-01'", "'1969-12-31'", "'2000-02-29'", "'9999-12-31'"],
    ),
    column(
        "at",
        "DATETIME",
        &[
            "'0001-01-01 00:00:00'",
            "'1969-12-31 23:59:59.999999'",
            "'1970-01-01T00:00'",
            "'9999-12-31'",
        ],
    ),
    column("clock", "TIME", &["'00:00:00'", "'23:59:59.999'"]),
    column(
        "plain",
        "TEXT",
        &[
            "''",
            "' '",
            "'abc'",
            "'ABC'",
            "'abc '",
            "'äbc'",
            "'O''Brien'",
            "'A\"B'",
            "'a\\c'",
            "'100%_'",
            "'中文😀'",
            "'a' || char(0) || 'b'",
            "'line' || char(10)",
            "'NULL'",
            "5",
            "1.5",
            "';DROP TABLE torture;--'",
        ],
    ),
    column(
        "caseless",
        "VARCHAR(60) COLLATE NOCASE",
        &["'abc'", "'ABC'", "'äbc'", "'ÄBC'"],
    ),
    column(
        "trimmed",
        "CHARACTER(20) COLLATE RTRIM",
        &["'abc'", "'abc '", "''", "' '"],
    ),
    column("quo\"te", "CLOB", &["'abc'", "'ABC'"]),
    column("bytes", "BLOB", &["x''", "x'00'", "x'00ff27'", "x'61'", "x'6100'"]),
    column(
        "untyped",
        "",
        &["1", "'1'", "1.5", "'a'", "''", "-9223372036854775808", "0.1", "1e300"],
    ),
    column("odd", "POINT", &["'a'", "3", "2.5"]),
    column("any", "ANY", &["'a'", "3"]),
    column("computed", "BIGINT AS (tiny * 2) VIRTUAL", &[]),
    column("computed_kept", "TEXT AS (plain || '!') STORED", &[]),
];

/// What is stored under a declared type that does not hold it.
pub const REFUSED: &[Refused] = &[
    refused("text_of_number", "INTEGER", "'x'"),
    refused("real_of_number", "INTEGER", "1.5"),
    refused("blob_of_number", "INTEGER", "x'31'"),
    refused("text_of_real", "REAL", "'x'"),
    refused("large_of_real", "NUMERIC", "9007199254740993"),
    refused("third_decimal", "DECIMAL(12,2)", "1.005"),
    refused("digits", "DECIMAL(4,2)", "100"),
    refused("word_of_truth", "BOOLEAN", "'true'"),
    refused("two_of_truth", "BOOLEAN", "2"),
    refused("day_of_number", "DATE", "20000101"),
    refused("day_of_real", "DATE", "2451544.5"),
    refused("day_short", "DATE", "'2000-1-1'"),
    refused("day_none", "DATE", "'2000-02-30'"),
    refused("at_of_number", "TIMESTAMP", "946684800"),
    refused("at_of_real", "TIMESTAMP", "2451544.5"),
    refused("at_zone", "TIMESTAMP", "'2000-01-01 00:00:00Z'"),
    refused("blob_of_text", "TEXT", "x'61'"),
    refused("no_utf8", "TEXT", "CAST(x'ff' AS TEXT)"),
    refused("text_of_blob", "BLOB", "'a'"),
    refused("blob_of_any", "POINT", "x'61'"),
];

const fn refused(table: &'static str, declared: &'static str, value: &'static str) -> Refused {
    Refused { table, declared, value }
}
