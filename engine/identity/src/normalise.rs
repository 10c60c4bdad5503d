//! Values before they are compared.
//!
//! Owns: what each normaliser does. Never: guesses; a value it cannot read is missing, and `Records` count it.

use chrono::NaiveDate;
use pinyin::ToPinyin;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// One step of normalisation. A step that leaves nothing makes the value missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normaliser {
    /// Spaces at the ends go, those between words become one.
    Trim,
    /// Lower case.
    Case,
    /// Compatibility forms become plain ones (full-width digits), accents and other marks go.
    Fold,
    /// Only letters and digits stay, with one space between words.
    Words,
    /// Only decimal digits stay.
    Digits,
    /// A number of an account or a customer: `C-000123`, `123` and `123.0` are `123`.
    Number,
    /// A date in one of these formats (as `strftime` writes them) becomes `YYYYMMDD`; any other text is missing.
    Date(Vec<String>),
    /// A telephone number becomes digits with its country code; a national one (leading `0`, or none) gets this code.
    Phone {
        /// The country's calling code, digits only.
        country: String,
    },
    /// An e-mail address in lower case; what is none is missing.
    Email,
    /// A company's legal form at the end goes (`Ltd`, `GmbH`, `有限公司`).
    Company,
    /// Chinese characters become their syllables without tones, each a word.
    Pinyin,
}

/// Legal forms as words at the end of a folded, lower-case name.
const FORMS: &[&str] = &[
    "ab",
    "ag",
    "as",
    "bv",
    "co",
    "company",
    "corp",
    "corporation",
    "gmbh",
    "inc",
    "incorporated",
    "kg",
    "limited",
    "llc",
    "llp",
    "ltd",
    "nv",
    "oy",
    "oyj",
    "plc",
    "pte",
    "pty",
    "sa",
    "sarl",
    "sas",
    "se",
    "spa",
    "srl",
];
/// Legal forms written without a space before them, the longest first.
const JOINED_FORMS: &[&str] = &[
    "股份有限公司",
    "有限责任公司",
    "有限責任公司",
    "株式会社",
    "有限公司",
    "股份公司",
    "集团公司",
    "公司",
];

impl Normaliser {
    /// The value after this step, or `None` where nothing is left.
    pub fn apply(&self, value: &str) -> Option<String> {
        let result = match self {
            Self::Trim => squeeze(value),
            Self::Case => value.to_lowercase(),
            Self::Fold => value
                .nfkd()
                .filter(|letter| !is_combining_mark(*letter))
                .nfc()
                .collect(),
            Self::Words => words(value),
            Self::Digits => digits(value),
            Self::Number => number(value),
            Self::Date(formats) => return date(value, formats),
            Self::Phone { country } => return phone(value, country),
            Self::Email => return email(value),
            Self::Company => company(value),
            Self::Pinyin => syllables(value),
        };
        (!result.is_empty()).then_some(result)
    }
}

/// All steps in order.
pub fn normalise(steps: &[Normaliser], value: &str) -> Option<String> {
    let first = (!value.is_empty()).then(|| value.to_owned());
    steps.iter().fold(first, |value, step| step.apply(&value?))
}

fn squeeze(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn words(value: &str) -> String {
    // An apostrophe stands within a word, everything else between two.
    let spaced: String = value
        .chars()
        .filter(|letter| !matches!(letter, '\'' | '’'))
        .map(|letter| if letter.is_alphanumeric() { letter } else { ' ' })
        .collect();
    squeeze(&spaced)
}

fn digits(value: &str) -> String {
    value.nfkc().filter(char::is_ascii_digit).collect()
}

fn number(value: &str) -> String {
    let plain: String = value.nfkc().collect();
    let plain = plain.trim();
    let whole = match plain.rsplit_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0') => whole,
        _ => plain,
    };
    let digits = digits(whole);
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() && !digits.is_empty() {
        return "0".to_owned();
    }
    significant.to_owned()
}

fn date(value: &str, formats: &[String]) -> Option<String> {
    let value = value.trim();
    let mut read = formats
        .iter()
        .filter_map(|format| NaiveDate::parse_from_str(value, format).ok());
    read.next().map(|date| date.format("%Y%m%d").to_string())
}

fn phone(value: &str, country: &str) -> Option<String> {
    let plain: String = value.nfkc().collect::<String>().to_lowercase();
    let end = plain.find(['x', 'e', '#', ';', '转']).unwrap_or(plain.len());
    let plain = plain[..end].trim();
    // `+44 (0)20`: the zero in brackets is only dialled at home.
    let unbracketed = plain.replace("(0)", "");
    let all = digits(&unbracketed);
    let full = if unbracketed.starts_with('+') {
        all
    } else if let Some(international) = all.strip_prefix("00") {
        international.to_owned()
    } else {
        let national = all.strip_prefix('0').unwrap_or(&all);
        if national.is_empty() {
            String::new()
        } else {
            format!("{country}{national}")
        }
    };
    // E.164: at most fifteen digits; below five it is an extension.
    (5..=15).contains(&full.len()).then_some(full)
}

fn email(value: &str) -> Option<String> {
    let plain = value.nfkc().collect::<String>().trim().to_lowercase();
    let (local, domain) = plain.split_once('@')?;
    let valid = !local.is_empty() && domain.contains('.') && !domain.contains('@');
    (valid && !plain.contains(char::is_whitespace)).then(|| plain.clone())
}

fn company(value: &str) -> String {
    let mut name = words(&value.replace('.', "")).to_lowercase();
    loop {
        let joined = JOINED_FORMS.iter().find_map(|form| name.strip_suffix(form));
        let spaced = || {
            name.rsplit_once(' ')
                .filter(|(_, last)| FORMS.contains(last))
                .map(|(rest, _)| rest)
        };
        // A name that is only its form stays as it is.
        match joined
            .or_else(spaced)
            .map(str::trim_end)
            .filter(|rest| !rest.is_empty())
        {
            Some(rest) => name = rest.to_owned(),
            None => return name,
        }
    }
}

fn syllables(value: &str) -> String {
    let mut result = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter.to_pinyin() {
            Some(syllable) => {
                result.push(' ');
                result.push_str(syllable.plain());
                result.push(' ');
            }
            None => result.push(letter),
        }
    }
    squeeze(&result)
}

#[cfg(test)]
mod tests {
    use super::{Normaliser, normalise};

    fn check(steps: &[Normaliser], value: &str, expected: Option<&str>) {
        assert_eq!(normalise(steps, value).as_deref(), expected, "{value}");
    }

    #[test]
    fn one_number_in_three_spellings() {
        for value in ["C-000123", "123", "123.0", " 0123.00 ", "１２３"] {
            check(&[Normaliser::Number], value, Some("123"));
        }
        check(&[Normaliser::Number], "123.5", Some("1235"));
        check(&[Normaliser::Number], "000", Some("0"));
        check(&[Normaliser::Number], "none", None);
    }

    #[test]
    fn text_is_folded_and_squeezed() {
        let steps = [Normaliser::Fold, Normaliser::Case, Normaliser::Words];
        check(&steps, "  José   O’Neill-Müller ", Some("jose oneill muller"));
        check(&steps, "ＡＢＣ", Some("abc"));
        check(&steps, " - ", None);
        check(&[Normaliser::Trim], "", None);
    }

    #[test]
    fn dates_in_several_formats_and_none_guessed() {
        let steps = [Normaliser::Date(
            ["%Y-%m-%d", "%d.%m.%Y", "%Y年%m月%d日"].map(str::to_owned).to_vec(),
        )];
        for value in ["1990-02-03", "03.02.1990", "1990年02月03日"] {
            check(&steps, value, Some("19900203"));
        }
        check(&steps, "31.02.1990", None);
        check(&steps, "02/03/1990", None);
    }

    #[test]
    fn phones_get_their_country() {
        let steps = [Normaliser::Phone {
            country: "44".to_owned(),
        }];
        for value in [
            "+44 20 7946 0018",
            "0044 20 7946-0018",
            "020 7946 0018",
            "+44 (0)20 7946 0018 ext 12",
        ] {
            check(&steps, value, Some("442079460018"));
        }
        check(&steps, "12", None);
    }

    #[test]
    fn mail_companies_and_pinyin() {
        check(&[Normaliser::Email], " Ann@Example.COM ", Some("ann@example.com"));
        check(&[Normaliser::Email], "ann at example", None);
        check(&[Normaliser::Company], "Acme Trading Co., Ltd.", Some("acme trading"));
        check(&[Normaliser::Company], "Acme S.p.A.", Some("acme"));
        check(&[Normaliser::Company], "Limited", Some("limited"));
        check(&[Normaliser::Company], "上海光明有限公司", Some("上海光明"));
        check(&[Normaliser::Pinyin], "王小明", Some("wang xiao ming"));
        check(&[Normaliser::Pinyin, Normaliser::Trim], "Li 小龙", Some("Li xiao long"));
    }
}
