//! What PostgreSQL can hold.
//!
//! Owns: its columns and values. Never: a type that needs more than its own packages.

use super::{Column, Refused};

/// Types of its own.
pub const BEFORE: &str = "
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'OK', 'ok', 'so\"so', 'o''k');
CREATE TYPE pair AS (n int, t text);
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN price AS numeric(10,2);
CREATE DOMAIN low_price AS price CHECK (VALUE < 1000);
CREATE DOMAIN moods AS mood[];
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN address AS inet;
CREATE DOMAIN code AS varchar(8);
";

const fn column(name: &'static str, declared: &'static str, values: &'static [&'static str]) -> Column {
    Column { name, declared, values }
}

/// Every type.
pub const COLUMNS: &[Column] = &[
    column("truth", "bool", &["true", "false"]),
    column("octet", "\"char\"", &["'a'", "' '", "''''", "''"]),
    column("small", "int2", &["-32768", "-1", "0", "32767"]),
    column("number", "int4", &["-2147483648", "0", "2147483647"]),
    column(
        "big",
        "int8",
        &["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    ),
    column("object", "oid", &["0", "4294967295"]),
    column(
        "single",
        "float4",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "0.1",
            "1e-45",
            "3.4028235e38",
            "16777216",
            "1e-5",
            "123456.7",
        ],
    ),
    column(
        "double_number",
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "0.1",
            "5e-324",
            "1.7976931348623157e308",
            "9007199254740993",
            "1e15",
            "123456789012345",
            "0.0001",
            "0.00001",
            "1e22",
            "-2.5",
        ],
    ),
    column(
        "amount",
        "numeric(12,2)",
        &["0", "-0.01", "9999999999.99", "-9999999999.99", "10000", "0.1"],
    ),
    column(
        "wide",
        "numeric(38,10)",
        &[
            "9999999999999999999999999999.9999999999",
            "-0.0000000001",
            "10000000000000000000000000000 - 1",
            "0",
        ],
    ),
    column(
        "fraction",
        "numeric(38,38)",
        &["0.00000000000000000000000000000000000001", "-0.5"],
    ),
    column(
        "bare",
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.10",
            "1.1",
            "0e-20",
            "123456789012345678901234567890.0123456789",
            "1e100",
        ],
    ),
    column(
        "vast",
        "numeric(60,2)",
        &[
            "1e50",
            "-0.01",
            "9999999999999999999999999999999999999999999999999999999999.99",
        ],
    ),
    column(
        "vast_fraction",
        "numeric(39,0)",
        &["999999999999999999999999999999999999999", "0"],
    ),
    column(
        "plain",
        "text",
        &[
            "''",
            "' '",
            "'abc'",
            "'ABC'",
            "'abc '",
            "'äbc'",
            "E'a\\u0308bc'",
            "'O''Brien'",
            "'A\"B'",
            "E'a\\\\c'",
            "'100%_'",
            "'中文😀'",
            "E'line\\nbreak\\ttab'",
            "'NULL'",
            "E'\\u00a0'",
            "E'\\U0010FFFD'",
            "';DROP TABLE torture;--'",
            "'$1'",
        ],
    ),
    column(
        "Quoted \"Näme",
        "varchar(40)",
        &["''", "'abc'", "'ABC'", "'abc '", "'a,b'", "'😀'"],
    ),
    column(
        "padded",
        "char(10)",
        &["''", "'abc'", "'ABC'", "' abc'", "'äbc'", "'0123456789'"],
    ),
    column("lone", "char", &["'x'", "''", "'X'"]),
    column("named", "name", &["''", "'abc'", "'Abc'", "'O''Brien'"]),
    column(
        "english",
        "text COLLATE \"en-x-icu\"",
        &["'a'", "'B'", "'b'", "'A'", "'ä'", "'Z'", "'z'"],
    ),
    column("slack", "text COLLATE loose", &["'abc'", "'ABC'", "'äbc'", "'abc '"]),
    column("caseless", "citext", &["'abc'", "'ABC'", "''", "'ÄBC'"]),
    column(
        "bytes",
        "bytea",
        &["''", "'\\x00'", "'\\x00ff27'", "'\\x61'", "'\\x6100'", "'abc\\\\\\047'"],
    ),
    column(
        "day",
        "date",
        &[
            "'0001-01-01'",
            "'1969-12-31'",
            "'1970-01-01'",
            "'2000-02-29'",
            "'9999-12-31'",
            "'0001-12-31 BC'",
            "'4714-11-24 BC'",
            "'5874897-12-31'",
        ],
    ),
    column(
        "at",
        "timestamp",
        &[
            "'0001-01-01'",
            "'1969-12-31 23:59:59.999999'",
            "'1970-01-01'",
            "'9999-12-31 23:59:59.999999'",
            "'4714-11-24 00:00:00 BC'",
            "'290000-01-01 12:00'",
            "'2000-01-01 00:00:00.1'",
        ],
    ),
    column(
        "at_seconds",
        "timestamp(0)",
        &["'1969-12-31 23:59:59.4'", "'9999-12-31'"],
    ),
    column(
        "at_utc",
        "timestamptz",
        &[
            "'0001-01-01 00:00+00'",
            "'1969-12-31 23:59:59.999999+00'",
            "'2024-06-01 12:00+02'",
            "'9999-12-31 23:59:59+00'",
            "'2024-03-31 01:30:00 Europe/Prague'",
            "'0044-03-15 12:00+00 BC'",
        ],
    ),
    column("hour", "time", &["'00:00'", "'23:59:59.999999'", "'12:34:56.5'"]),
    column("hour_short", "time(3)", &["'00:00:00.0004'", "'23:59:59.999'"]),
    column(
        "hour_zone",
        "timetz",
        &["'00:00+00'", "'23:59:59.999999-15:59'", "'24:00+02'"],
    ),
    column(
        "span",
        "interval",
        &[
            "'1 year 2 days'",
            "'-3 hours'",
            "'0'",
            "'178000000 years'",
            "'-1 mons +2 days -00:00:00.000001'",
            "'1 month -1 day'",
        ],
    ),
    column("span_months", "interval year to month", &["'1-2'", "'-0-11'"]),
    column(
        "key",
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    column(
        "doc",
        "json",
        &[
            "'{\"b\":1,  \"a\":2, \"a\":3}'",
            "'null'",
            "'\"x\"'",
            "'1.10'",
            "'[\"\\u00e9\"]'",
        ],
    ),
    column(
        "doc_binary",
        "jsonb",
        &[
            "'{\"b\": 1, \"a\": [1.0, null]}'",
            "'null'",
            "'\"x\"'",
            "'1e100'",
            "'{}'",
        ],
    ),
    column("path", "jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    column("markup", "xml", &["'<a b=\"c\">d</a>'", "'x<b/>'"]),
    column("feeling", "mood", &["'sad'", "'OK'", "'ok'", "'so\"so'", "'o''k'"]),
    column(
        "both",
        "pair",
        &["ROW(1, 'a')", "ROW(NULL, 'b,\"c\\')", "ROW(NULL, NULL)", "ROW(0, '')"],
    ),
    column(
        "numbers",
        "int[]",
        &["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={7,8}'"],
    ),
    column(
        "texts",
        "text[]",
        &[
            "ARRAY['a', NULL, 'NULL', '', 'b,c', 'd\"e', 'f\\g', '{h}']",
            "'{}'",
            "'{{a,b},{c,d}}'",
        ],
    ),
    column("amounts", "numeric(12,2)[]", &["'{1.10,NaN}'"]),
    column("days", "date[]", &["'{infinity,0001-12-31 BC}'"]),
    column("pairs", "pair[]", &["ARRAY[ROW(1, 'a b')::pair, NULL]"]),
    column("moods", "mood[]", &["'{ok,NULL,\"so\\\"so\"}'"]),
    column("blobs", "bytea[]", &["ARRAY['\\x00ff'::bytea, NULL]"]),
    column("keys", "uuid[]", &["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"]),
    column(
        "host",
        "inet",
        &["'10.0.0.1'", "'10.0.0.1/8'", "'::1'", "'::1/64'", "'10.0.0.1/32'"],
    ),
    column("net", "cidr", &["'10.0.0.0/8'", "'10.0.0.1'", "'2001:db8::/32'"]),
    column("hosts", "inet[]", &["'{10.0.0.1,::1/64}'"]),
    column("mac", "macaddr", &["'08:00:2b:01:02:03'"]),
    column("mac_long", "macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    column("bits", "bit(5)", &["B'00000'", "B'10101'"]),
    column("bits_any", "varbit", &["B''", "B'1'", "B'0000000001'"]),
    column("cash", "money", &["'12.30'", "'-1234567.89'", "'92233720368547758.07'"]),
    column(
        "numbers_between",
        "int4range",
        &["'[1,5)'", "'empty'", "'(,)'", "'(,3]'"],
    ),
    column(
        "times_between",
        "tstzrange",
        &["'[2024-01-01 00:00+00,infinity)'", "'empty'"],
    ),
    column("amounts_between", "numrange", &["'(1.10,2.20]'"]),
    column("ranges", "int4multirange", &["'{[1,3),[5,9)}'", "'{}'"]),
    column("cost", "price", &["1.10", "-99999999.99"]),
    column("cost_low", "low_price", &["1.10", "-99999999.99"]),
    column("feelings", "moods", &["'{sad}'"]),
    column("feeling_too", "feeling", &["'ok'", "'OK'"]),
    column("home", "address", &["'10.0.0.1'", "'::1/64'"]),
    column("short_code", "code", &["'a'", "'A'", "'a '"]),
    column("words", "tsvector", &["'a fat cat'", "'''Joe''''s'' :1A'"]),
    column("query", "tsquery", &["'fat & (rat | ''x'')'"]),
    column("spot", "point", &["'(1.5,-2)'", "'(NaN,Infinity)'"]),
    column("shape", "polygon", &["'((0,0),(1,1),(2,0.1))'"]),
    column("place", "pg_lsn", &["'16/B374D848'"]),
    column("relation", "regclass", &["'pg_class'"]),
    column("transaction_number", "xid8", &["'18446744073709551615'"]),
    column("computed", "int8 GENERATED ALWAYS AS (number::int8 * 2) STORED", &[]),
];

/// What Arrow has no value for.
pub const REFUSED: &[Refused] = &[
    refused("endless_day", "date", "'infinity'"),
    refused("beginless_day", "date", "'-infinity'"),
    refused("endless", "timestamp", "'infinity'"),
    refused("beginless", "timestamptz", "'-infinity'"),
    refused("late", "timestamp", "'294276-12-31 23:59:59.999999'"),
    refused("late_utc", "timestamptz", "'294276-12-31 23:59:59.999999+00'"),
    refused("midnight", "time", "'24:00'"),
    refused("no_number", "numeric(12,2)", "'NaN'"),
];

const fn refused(table: &'static str, declared: &'static str, value: &'static str) -> Refused {
    Refused { table, declared, value }
}
