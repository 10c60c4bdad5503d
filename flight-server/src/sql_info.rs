//! GetSqlInfo: what this server can do, every code of the protocol answered in the type clients cast to.
//!
//! Owns: the values. Never: asks a source; tools call this with short deadlines.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity, SqlSupportedGroupBy,
    SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction,
    SqlSupportedUnions, SqlTransactionIsolationLevel, SupportedSqlGrammar,
};
use tonic::Status;

use crate::status;

const KEYWORDS: &[&str] = &[
    "EXCEPT",
    "EXPLAIN",
    "FILTER",
    "INTERSECT",
    "LIMIT",
    "OFFSET",
    "OVER",
    "QUALIFY",
    "WINDOW",
];
const NUMERIC: &[&str] = &[
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "degrees", "exp", "floor", "ln", "log", "log10", "log2",
    "pi", "power", "radians", "round", "sign", "sin", "sqrt", "tan", "trunc",
];
const STRING: &[&str] = &[
    "ascii",
    "btrim",
    "char_length",
    "chr",
    "concat",
    "concat_ws",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "octet_length",
    "position",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "strpos",
    "substr",
    "translate",
    "trim",
    "upper",
];
const SYSTEM: &[&str] = &["coalesce", "nullif"];
const DATETIME: &[&str] = &[
    "current_date",
    "date_bin",
    "date_part",
    "date_trunc",
    "extract",
    "now",
    "to_char",
    "to_date",
    "to_timestamp",
];

/// Every answer.
pub fn data() -> Result<SqlInfoData, Status> {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info);
    names(&mut info);
    grammar(&mut info);
    limits(&mut info);
    transactions_and_results(&mut info);
    info.build().map_err(|error| {
        tracing::error!(%error, "SQL info");
        status::internal()
    })
}

/// The answers to `codes`; to all where empty. Codes that do not exist are passed over, as the protocol says.
pub fn answer(data: &SqlInfoData, codes: &[u32]) -> Result<RecordBatch, Status> {
    let wanted = codes
        .iter()
        .copied()
        .filter(|code| name(*code).is_some())
        .collect::<std::collections::BTreeSet<_>>();
    let all = data
        .record_batch(wanted.iter().copied())
        .map_err(|_| status::internal())?;
    Ok(if wanted.is_empty() && !codes.is_empty() {
        all.slice(0, 0)
    } else {
        all
    })
}

fn name(code: u32) -> Option<SqlInfo> {
    i32::try_from(code).ok().and_then(|code| SqlInfo::try_from(code).ok())
}

fn server(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::FlightSqlServerName, "Caliber");
    info.append(SqlInfo::FlightSqlServerVersion, version().as_str());
    info.append(SqlInfo::FlightSqlServerArrowVersion, "59.3.2");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, "");
    info.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, "");
    // ADBC looks for this one only among the 32-bit values.
    info.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    // Milliseconds of a day: the life of a prepared handle.
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 24 * 60 * 60 * 1_000);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0);
}

fn names(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(
        SqlInfo::SqlIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32,
    );
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i32,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    info.append(SqlInfo::SqlKeywords, KEYWORDS);
    info.append(SqlInfo::SqlNumericFunctions, NUMERIC);
    info.append(SqlInfo::SqlStringFunctions, STRING);
    info.append(SqlInfo::SqlSystemFunctions, SYSTEM);
    info.append(SqlInfo::SqlDatetimeFunctions, DATETIME);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    // ODBC reads an empty term as "there are no catalogs".
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlSchemasSupportedActions, 0);
    info.append(SqlInfo::SqlCatalogsSupportedActions, 0);
}

fn grammar(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsConvert, BTreeMap::<i32, Vec<i32>>::new());
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(
        SqlInfo::SqlSupportedGroupBy,
        bits(&[SqlSupportedGroupBy::SqlGroupByUnrelated as i32]),
    );
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, false);
    let grammars = [
        SupportedSqlGrammar::SqlMinimumGrammar,
        SupportedSqlGrammar::SqlCoreGrammar,
    ];
    info.append(
        SqlInfo::SqlSupportedGrammar,
        bits(&grammars.map(|grammar| grammar as i32)),
    );
    // Entry level, the lowest bit.
    info.append(SqlInfo::SqlAnsi92SupportedLevel, bits(&[0]));
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    let joins = [
        SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins,
        SqlOuterJoinsSupportLevel::SqlFullOuterJoins,
    ];
    info.append(SqlInfo::SqlOuterJoinsSupportLevel, bits(&joins.map(|join| join as i32)));
    info.append(SqlInfo::SqlSupportedPositionedCommands, 0);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    let subqueries = [
        SqlSupportedSubqueries::SqlSubqueriesInComparisons,
        SqlSupportedSubqueries::SqlSubqueriesInExists,
        SqlSupportedSubqueries::SqlSubqueriesInIns,
    ];
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        bits(&subqueries.map(|subquery| subquery as i32)),
    );
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    let unions = [SqlSupportedUnions::SqlUnion, SqlSupportedUnions::SqlUnionAll];
    info.append(SqlInfo::SqlSupportedUnions, bits(&unions.map(|union| union as i32)));
}

/// 0 says that there is no limit, or none known. JDBC casts each of these to a 64-bit number.
fn limits(info: &mut SqlInfoDataBuilder) {
    for limit in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        info.append(limit, 0_i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
}

fn transactions_and_results(info: &mut SqlInfoDataBuilder) {
    let none = SqlTransactionIsolationLevel::SqlTransactionNone as i32;
    info.append(SqlInfo::SqlDefaultTransactionIsolation, i64::from(none));
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.append(SqlInfo::SqlSupportedTransactionsIsolationLevels, bits(&[none]));
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    let forward = SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32;
    info.append(SqlInfo::SqlSupportedResultSetTypes, bits(&[forward]));
    let read_only = bits(&[SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32]);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, 0);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, read_only);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0);
    info.append(SqlInfo::SqlBatchUpdatesSupported, false);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

/// The protocol's bit masks: bit `n` for the value `n` of an enumeration.
fn bits(values: &[i32]) -> i32 {
    values.iter().fold(0, |mask, value| mask | 1 << value)
}

/// ODBC wants `##.##.####`.
fn version() -> String {
    let mut parts = env!("CARGO_PKG_VERSION")
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let mut part = || parts.next().unwrap_or_default();
    let (major, minor, patch) = (part(), part(), part());
    format!("{major:02}.{minor:02}.{patch:04}")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, UnionArray};
    use arrow::datatypes::UInt32Type;

    use super::*;

    /// The union child each code must be in: what JDBC, ODBC and ADBC cast it to.
    fn child(code: u32) -> i8 {
        const STRING: i8 = 0;
        const BOOL: i8 = 1;
        const BIGINT: i8 = 2;
        const BITMASK: i8 = 3;
        const STRINGS: i8 = 4;
        const MAP: i8 = 5;
        match code {
            0..=2 | 6 | 7 | 504 | 513 | 514 | 529..=531 => STRING,
            8 | 100 | 101 | 503 | 505 | 507 | 522 | 525 | 526 | 528 | 533..=535 | 538 | 540 | 564 | 567..=571 => {
                BITMASK
            }
            541..=555 | 557..=562 => BIGINT,
            508..=512 => STRINGS,
            517 => MAP,
            _ => BOOL,
        }
    }

    fn codes(batch: &RecordBatch) -> Vec<u32> {
        batch.column(0).as_primitive::<UInt32Type>().values().to_vec()
    }

    #[test]
    fn every_code_of_the_protocol_is_answered_in_its_type() {
        let all = answer(&data().unwrap(), &[]).unwrap();
        let every = (0..1_000).filter(|code| name(*code).is_some()).collect::<Vec<_>>();
        assert!(every.len() > 90, "{}", every.len());
        assert_eq!(codes(&all), every);
        let values = all.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        for (row, code) in every.iter().enumerate() {
            assert_eq!(values.type_id(row), child(*code), "code {code}");
        }
    }

    #[test]
    fn only_what_is_asked_for_is_answered_and_unknown_codes_are_passed_over() {
        let data = data().unwrap();
        assert_eq!(codes(&answer(&data, &[8, 0, 8, 77_777, u32::MAX]).unwrap()), [0, 8]);
        assert_eq!(codes(&answer(&data, &[77_777]).unwrap()), Vec::<u32>::new());
    }

    #[test]
    fn the_version_has_the_shape_odbc_reads() {
        let version = version();
        let shape = version
            .chars()
            .map(|c| if c.is_ascii_digit() { '#' } else { c })
            .collect::<String>();
        assert_eq!(shape, "##.##.####");
    }
}
