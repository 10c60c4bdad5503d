//! What MariaDB can hold.
//!
//! Owns: its columns and values. Never: a type that MySQL alone has.

use super::{Column, Refused};

/// A session that lets everything in.
pub const BEFORE: &str = "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00';\n";

const fn column(name: &'static str, declared: &'static str, values: &'static [&'static str]) -> Column {
    Column { name, declared, values }
}

/// Every type.
pub const COLUMNS: &[Column] = &[
    column("tiny", "tinyint", &["-128", "0", "127"]),
    column("truth", "boolean", &["TRUE", "FALSE", "2"]),
    column("tiny_more", "tinyint unsigned", &["0", "255"]),
    column("small", "smallint", &["-32768", "32767"]),
    column("small_more", "smallint unsigned", &["0", "65535"]),
    column("medium", "mediumint", &["-8388608", "8388607"]),
    column("medium_more", "mediumint unsigned", &["0", "16777215"]),
    column("number", "int", &["-2147483648", "2147483647"]),
    column("number_more", "int unsigned", &["0", "4294967295"]),
    column("number_padded", "int(10) unsigned zerofill", &["0", "42", "4294967295"]),
    column(
        "big",
        "bigint",
        &["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    ),
    column(
        "big_more",
        "bigint unsigned",
        &[
            "0",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
        ],
    ),
    column(
        "amount",
        "decimal(12,2)",
        &["0", "-0.01", "9999999999.99", "-9999999999.99"],
    ),
    column("amount_more", "decimal(12,2) unsigned", &["0", "9999999999.99"]),
    column(
        "wide",
        "decimal(38,10)",
        &["9999999999999999999999999999.9999999999", "-0.0000000001"],
    ),
    column(
        "widest",
        "decimal(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-0.000000000000000000000000000001",
            "0",
        ],
    ),
    column(
        "whole",
        "decimal(65,0)",
        &[
            "99999999999999999999999999999999999999999999999999999999999999999",
            "-1",
        ],
    ),
    column(
        "single",
        "float",
        &["0", "-0e0", "0.1", "-3.4028234e38", "1e-45", "16777216"],
    ),
    column(
        "double_number",
        "double",
        &[
            "0",
            "-0e0",
            "0.1",
            "1.7976931348623157e308",
            "5e-324",
            "9007199254740993",
            "1e22",
        ],
    ),
    column(
        "plain",
        "text CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        &[
            "''",
            "' '",
            "'abc'",
            "'ABC'",
            "'abc '",
            "'äbc'",
            "'O''Brien'",
            "'A\"B'",
            "'a\\\\c'",
            "'100%_'",
            "'中文😀'",
            "'line\\nbreak\\ttab'",
            "'NULL'",
            "'a\\0b'",
            "'<&>'",
            "'ß'",
            "'ss'",
            "';DROP TABLE torture;--'",
            "'?'",
        ],
    ),
    column(
        "back`tick",
        "varchar(60) COLLATE utf8mb4_bin",
        &["''", "'abc'", "'ABC'", "'abc '", "'😀'"],
    ),
    column(
        "no_pad",
        "varchar(60) COLLATE utf8mb4_unicode_nopad_ci",
        &["''", "'abc'", "'ABC'", "'abc '", "'äbc'"],
    ),
    column(
        "padded",
        "char(10) COLLATE utf8mb4_general_ci",
        &["''", "'abc'", "'ABC'", "' abc'", "'ß'"],
    ),
    column(
        "latin",
        "varchar(60) CHARACTER SET latin1",
        &["'abc'", "'ABC'", "'äÄß€'", "''", "'abc '", "0x81", "0xff"],
    ),
    column(
        "central",
        "varchar(60) CHARACTER SET cp1250",
        &["'abc'", "'Žluťoučký?'", "''", "'?'"],
    ),
    column(
        "czech",
        "varchar(60) CHARACTER SET latin2 COLLATE latin2_czech_cs",
        &["'abc'", "'Žluťoučký'", "'ABC'"],
    ),
    column(
        "japanese",
        "varchar(60) CHARACTER SET cp932",
        &["'日本①'", "'?'", "0xfa54", "0xeef9"],
    ),
    column("seven_bits", "varchar(60) CHARACTER SET ascii", &["'abc'", "'?'"]),
    column("chinese", "varchar(60) CHARACTER SET gbk", &["'abc'", "'中文'", "''"]),
    column(
        "three_bytes",
        "varchar(60) CHARACTER SET utf8mb3",
        &["'abc'", "'中文'", "'ÄBC'", "'äbc'"],
    ),
    column(
        "two_bytes",
        "varchar(60) CHARACTER SET ucs2",
        &["'abc'", "'中文'", "'ABC'"],
    ),
    column(
        "long_text",
        "longtext",
        &["'abc'", "REPEAT('x', 5000)", "CONCAT(REPEAT('x', 5000), 'a')"],
    ),
    column("short_text", "tinytext", &["'abc'", "'ABC'"]),
    column(
        "pick",
        "enum('b', 'a', 'A2', 'o''k', '')",
        &["'a'", "'A2'", "'b'", "'o''k'", "''"],
    ),
    column("some", "set('y', 'x', 'z')", &["''", "'x'", "'x,y'", "'z,y,x'"]),
    column(
        "bytes",
        "varbinary(20)",
        &["''", "0x00", "0x00ff27", "0x61", "0x6100", "0x6120"],
    ),
    column("fixed", "binary(4)", &["0x61", "0x6120", "0xffffffff", "''"]),
    column("blob_long", "longblob", &["0x00", "REPEAT(0xff, 3000)", "''"]),
    column(
        "day",
        "date",
        &[
            "'0001-01-01'",
            "'1969-12-31'",
            "'1970-01-01'",
            "'2000-02-29'",
            "'9999-12-31'",
        ],
    ),
    column(
        "at",
        "datetime(6)",
        &[
            "'0001-01-01'",
            "'1969-12-31 23:59:59.999999'",
            "'9999-12-31 23:59:59.999999'",
        ],
    ),
    column(
        "at_seconds",
        "datetime",
        &["'0001-01-01'", "'1969-12-31 23:59:59'", "'9999-12-31 23:59:59'"],
    ),
    column(
        "at_utc",
        "timestamp(6) NULL",
        &[
            "'1970-01-01 00:00:01'",
            "'2024-06-01 12:00:00.000001'",
            "'2038-01-19 03:14:07.999999'",
        ],
    ),
    column(
        "at_utc_seconds",
        "timestamp NULL",
        &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"],
    ),
    column(
        "hour",
        "time",
        &["'-838:59:59'", "'00:00:00'", "'838:59:59'", "'24:00:00'"],
    ),
    column(
        "hour_fine",
        "time(6)",
        &["'-838:59:59.999999'", "'00:00:00.000001'", "'-00:00:00.5'"],
    ),
    column("y", "year", &["1901", "2155", "0"]),
    column("bit_one", "bit(1)", &["b'0'", "b'1'"]),
    column("bits", "bit(10)", &["b'0'", "b'1111111111'"]),
    column("bits_all", "bit(64)", &["0", "18446744073709551615"]),
    column(
        "ref",
        "uuid",
        &[
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "'00000000-0000-0000-0000-000000000000'",
        ],
    ),
    column("host", "inet6", &["'::1'", "'::ffff:10.0.0.1'", "'2001:db8::'"]),
    column("doc", "json", &["'{\"a\": [1, null]}'", "'null'", "'\"x\"'"]),
    column("computed", "bigint AS (number * 2) VIRTUAL", &[]),
    column("computed_kept", "varchar(40) AS (CONCAT(pick, '!')) STORED", &[]),
];

/// What Arrow has no value for.
pub const REFUSED: &[Refused] = &[
    refused("zero_day", "date", "'0000-00-00'"),
    refused("zero_at", "datetime", "'0000-00-00'"),
    refused("zero_utc", "timestamp NULL", "'0000-00-00'"),
    refused("no_month", "date", "'2000-00-01'"),
    refused("no_day", "datetime(6)", "'2000-12-00 10:00:00'"),
    refused("thirtieth", "date", "'2000-02-30'"),
    refused("no_letter", "varchar(9) CHARACTER SET cp1250", "0x81"),
    refused("eighth_bit", "varchar(9) CHARACTER SET ascii", "0x80"),
    refused("half_letter", "varchar(9) CHARACTER SET ucs2", "0xd800"),
];

const fn refused(table: &'static str, declared: &'static str, value: &'static str) -> Refused {
    Refused { table, declared, value }
}
