//! Text that stands for something else: durations, sizes, numbers, names.
//!
//! Owns: their spelling. Never: where they stand. An error is the instruction for whoever wrote it.

use std::time::Duration;

use crate::date::Date;
use crate::name::{ColumnName, TableName};
use crate::principal::AttributeValue;

/// `250ms`, `30s`, `5m`, `1h`, `2d`
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number and its unit: `30s`, `250ms`, `5m`, `1h`";
    let (number, unit) = number_and_unit(text).ok_or(HELP)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(HELP.into()),
    };
    let millis = number
        .checked_mul(millis)
        .filter(|millis| *millis <= 366 * 86_400_000)
        .ok_or("write at most `366d`")?;
    if millis == 0 {
        return Err("write more than nothing: without time nothing can run".into());
    }
    Ok(Duration::from_millis(millis))
}

/// `2026-12-31`
pub(super) fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "write a day as `2026-12-31`".into())
}

/// `512B`, `64KiB`, `256MiB`, `2GiB`, `1TiB`, and the decimal `kB`, `MB`, `GB`, `TB`
pub(super) fn size(text: &str) -> Result<u64, String> {
    const HELP: &str = "write a number and its unit: `256MiB`, `2GiB`";
    let (number, unit) = number_and_unit(text).ok_or(HELP)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(HELP.into()),
    };
    let bytes = number
        .checked_mul(bytes)
        .filter(|bytes| *bytes <= 1 << 50)
        .ok_or("write at most `1024TiB`")?;
    if bytes == 0 {
        Err("write more than nothing".into())
    } else {
        Ok(bytes)
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// A whole number from `least` to `most`.
pub(super) fn integer(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let number: i64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| "write a whole number".to_string())?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("write a number from {least} to {most}"))
    }
}

/// YAML's truth values.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("write `true` or `false`".into()),
    }
}

/// A value without quotes as YAML 1.2 reads it.
pub(super) fn plain(text: &str) -> Result<AttributeValue, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Ok(value) = boolean(text) {
        return Ok(AttributeValue::Bool(value));
    }
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(AttributeValue::Null);
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(format!(
                "write '{text}' in quotes if it is a code, without the leading zero if it is a number"
            ));
        }
        let number = text
            .parse()
            .map_err(|_| "write it in quotes: as a number it is too large".to_string())?;
        return Ok(AttributeValue::Int(number));
    }
    let number_like = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(number) if number_like && number.is_finite() => Ok(AttributeValue::Float(number)),
        _ => Ok(AttributeValue::Text(text.to_string())),
    }
}

/// A name that SQL takes without quotes.
pub(super) fn identifier(text: &str) -> Result<(), String> {
    let mut characters = text.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && characters.all(|c| c.is_ascii_alphanumeric() || c == '_') && text.len() <= 64 {
        Ok(())
    } else {
        Err("use letters, digits and `_`, a letter first, 64 at most".into())
    }
}

/// `source.table`
pub(super) fn table(text: &str) -> Result<TableName, String> {
    match text.split('.').collect::<Vec<_>>().as_slice() {
        [schema, table] if !schema.is_empty() && !table.is_empty() => Ok(TableName::new(*schema, *table)),
        _ => Err("write `source.table`".into()),
    }
}

/// `source.table.column`
pub(super) fn column(text: &str) -> Result<ColumnName, String> {
    match text.split('.').collect::<Vec<_>>().as_slice() {
        [schema, table, column] if ![schema, table, column].iter().any(|part| part.is_empty()) => Ok(ColumnName {
            table: TableName::new(*schema, *table),
            column: (*column).to_string(),
        }),
        _ => Err("write `source.table.column`".into()),
    }
}

/// An argon2id hash in PHC text form, as `caliber hash-password` writes it. The error says nothing of the text.
pub(super) fn password_hash(text: &str) -> Result<(), String> {
    const HELP: &str = "write an argon2id hash, in quotes: `caliber hash-password` makes one";
    let [before, algorithm, version, parameters, salt, hash] = text.split('$').collect::<Vec<_>>()[..] else {
        return Err(HELP.into());
    };
    let mut cost = parameters.split(',').map(|part| part.split_once('='));
    let mut next = |name: &str| -> Option<u64> {
        let (key, value) = cost.next()??;
        (key == name).then(|| value.parse().ok())?
    };
    let costs = (next("m"), next("t"), next("p"));
    let base64 = |part: &str, least: usize, most: usize| {
        (least..=most).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    let sound = before.is_empty()
        && algorithm == "argon2id"
        && version == "v=19"
        && base64(salt, 11, 64)
        && base64(hash, 22, 128);
    match costs {
        (Some(memory), Some(time), Some(lanes)) if sound && parameters.split(',').count() == 3 => {
            if (1..=64).contains(&lanes) && (8 * lanes..=4 << 20).contains(&memory) && (1..=1_000).contains(&time) {
                Ok(())
            } else {
                Err("use costs of at most m=4194304, t=1000, p=64: a log-in must not exhaust the server".into())
            }
        }
        _ => Err(HELP.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2 h"), Ok(Duration::from_secs(7200)));
        assert_eq!(size("256MiB"), Ok(268_435_456));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        for wrong in ["30", "s", "", "0s", "-1s", "1.5s", "3 weeks", "99999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["256", "MiB", "", "0B", "-1B", "1mib", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_values_are_read_as_yaml_reads_them() {
        assert_eq!(plain("1"), Ok(AttributeValue::Int(1)));
        assert_eq!(plain("-3"), Ok(AttributeValue::Int(-3)));
        assert_eq!(plain("1.5"), Ok(AttributeValue::Float(1.5)));
        assert_eq!(plain("true"), Ok(AttributeValue::Bool(true)));
        assert_eq!(plain("~"), Ok(AttributeValue::Null));
        assert_eq!(plain("no"), Ok(AttributeValue::Text("no".into())));
        assert_eq!(plain("1-2"), Ok(AttributeValue::Text("1-2".into())));
        assert!(plain("007").is_err());
        assert!(plain("99999999999999999999").is_err());
    }

    #[test]
    fn only_argon2id_hashes_are_passwords() {
        let salt = "VRIYgwJigDGBn+Qif9JRrg";
        let hash = "aQnMv3i55jRFzaOPfNLc7FgTDfaVuuEVPKDx6nkNNnE";
        assert_eq!(
            password_hash(&format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")),
            Ok(())
        );
        for wrong in [
            "hunter2".to_string(),
            format!("$argon2i$v=19$m=19456,t=2,p=1${salt}${hash}"),
            format!("$argon2id$v=16$m=19456,t=2,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=99999999,t=2,p=1${salt}${hash}"),
            format!("$argon2id$v=19$m=19456,t=2${salt}${hash}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1,x=1${salt}${hash}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$"),
        ] {
            assert!(
                password_hash(&wrong).is_err_and(|help| !help.contains("hunter2") && !help.contains(hash)),
                "{wrong}"
            );
        }
    }
}
