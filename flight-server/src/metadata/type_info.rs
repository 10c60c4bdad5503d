//! GetXdbcTypeInfo: the types results may have, as ODBC and JDBC number them.
//!
//! Owns: that list. Never: converts a value.

use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};
use tonic::Status;

use crate::status;

/// Every wire type.
pub fn data() -> Result<XdbcTypeInfoData, Status> {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    for (name, kind, digits) in [
        ("TINYINT", XdbcDataType::XdbcTinyint, 3),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        ("INTEGER", XdbcDataType::XdbcInteger, 10),
        ("BIGINT", XdbcDataType::XdbcBigint, 19),
    ] {
        builder.append(XdbcTypeInfo {
            unsigned_attribute: Some(false),
            num_prec_radix: Some(10),
            ..info(name, kind, digits)
        });
    }
    for (name, kind, bits) in [
        ("REAL", XdbcDataType::XdbcReal, 24),
        ("DOUBLE", XdbcDataType::XdbcDouble, 53),
    ] {
        builder.append(XdbcTypeInfo {
            unsigned_attribute: Some(false),
            num_prec_radix: Some(2),
            ..info(name, kind, bits)
        });
    }
    builder.append(XdbcTypeInfo {
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        create_params: Some(vec!["precision".into(), "scale".into()]),
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        ..info("DECIMAL", XdbcDataType::XdbcDecimal, 38)
    });
    builder.append(info("BOOLEAN", XdbcDataType::XdbcBit, 1));
    builder.append(XdbcTypeInfo {
        case_sensitive: true,
        searchable: Searchable::Full,
        ..quoted(info("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX), "'")
    });
    builder.append(quoted(info("VARBINARY", XdbcDataType::XdbcVarbinary, i32::MAX), "X'"));
    builder.append(XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
        ..quoted(info("DATE", XdbcDataType::XdbcDate, 10), "DATE '")
    });
    builder.append(XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
        minimum_scale: Some(6),
        maximum_scale: Some(6),
        ..quoted(info("TIMESTAMP", XdbcDataType::XdbcTimestamp, 26), "TIMESTAMP '")
    });
    builder.build().map_err(|error| {
        tracing::error!(%error, "type info");
        status::internal()
    })
}

fn info(name: &str, kind: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type: kind,
        column_size: Some(size),
        literal_prefix: None,
        literal_suffix: None,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: false,
        searchable: Searchable::Basic,
        unsigned_attribute: None,
        fixed_prec_scale: false,
        auto_increment: None,
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: kind,
        datetime_subcode: None,
        num_prec_radix: None,
        interval_precision: None,
    }
}

fn quoted(info: XdbcTypeInfo, prefix: &str) -> XdbcTypeInfo {
    XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_narrowed_to_one_type() {
        let data = data().unwrap();
        assert_eq!(data.record_batch(None).unwrap().num_rows(), 12);
        assert_eq!(
            data.record_batch(XdbcDataType::XdbcDecimal as i32).unwrap().num_rows(),
            1
        );
        assert_eq!(data.record_batch(XdbcDataType::XdbcTime as i32).unwrap().num_rows(), 0);
    }
}
