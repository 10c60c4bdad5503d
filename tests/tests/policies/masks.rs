//! Masks in every clause, over every kind of source: a governed table answers as a table that physically holds the masks.

use std::fs::{self, File};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use caliber_catalog::diagnostic::Diagnostic;
use caliber_catalog::load;
use caliber_connectors::FACTORIES;
use caliber_engine::{Engine, EngineOptions, Session, connector_kinds};
use caliber_testkit::{MariaDb, Postgres};
use caliber_tests::engine::{Variables, ask, open, principal};
use caliber_tests::rows;
use datafusion::parquet::arrow::ArrowWriter;
use futures::TryStreamExt;
use ring::{digest, hmac};
use tempfile::TempDir;
use tokio::sync::OnceCell;

const KEY: &str = "0123456789abcdef-a-key-for-tests-only";
const SOURCES: [&str; 4] = ["lite", "parquet", "pg", "my"];

/// A card: its number and holder are tokens to the masked, of the telephone two digits show.
#[derive(Clone, Debug)]
struct Card {
    id: i64,
    client_id: Option<i64>,
    pan: Option<String>,
    phone: Option<String>,
    holder: String,
    note: Option<String>,
}

fn cards() -> Vec<Card> {
    let card = |id, client_id, pan: Option<&str>, phone: Option<&str>, holder: &str| Card {
        id,
        client_id,
        pan: pan.map(str::to_owned),
        phone: phone.map(str::to_owned),
        holder: holder.to_owned(),
        note: Some(format!("note of {id}")),
    };
    vec![
        card(
            1,
            Some(70),
            Some("4000123412341234"),
            Some("+420777123456"),
            "Ada Nováková",
        ),
        card(2, Some(71), Some("4000999988887777"), Some("12"), "Bo 王"),
        card(3, Some(70), Some("4000123412341234"), None, "Cy"),
        card(4, None, None, Some("1"), ""),
        card(5, Some(-1), Some(""), Some("čtyřicet"), "Di'; --"),
        card(6, Some(i64::MAX), Some("š"), Some(""), "Ed"),
    ]
}

/// The format that the documentation gives, by another hand.
fn token(kind: u8, value: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signed = [&[kind], value].concat();
    hmac::sign(&key, &signed).as_ref()[..16].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn masked(card: &Card) -> Card {
    let number = |value: i64| {
        let token = token(b'n', &value.to_be_bytes());
        let first = token[..8].iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        (first >> 1).cast_signed()
    };
    let stars = |phone: &str| match phone {
        "+420777123456" => "***********56".to_owned(),
        "12" => "*2".to_owned(),
        "1" => "*".to_owned(),
        "čtyřicet" => "******et".to_owned(),
        "" => String::new(),
        other => format!("not foreseen: {other}"),
    };
    Card {
        id: card.id,
        client_id: card.client_id.map(number),
        pan: card.pan.as_ref().map(|pan| hex(&token(b't', pan.as_bytes()))),
        phone: card.phone.as_deref().map(stars),
        holder: format!("client {}", card.id),
        note: None,
    }
}

fn batch(cards: &[Card]) -> Result<RecordBatch> {
    let texts =
        |value: fn(&Card) -> Option<&str>| Arc::new(cards.iter().map(value).collect::<StringArray>()) as ArrayRef;
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "id",
            Arc::new(cards.iter().map(|card| Some(card.id)).collect::<Int64Array>()) as ArrayRef,
            true,
        ),
        (
            "client_id",
            Arc::new(cards.iter().map(|card| card.client_id).collect::<Int64Array>()) as ArrayRef,
            true,
        ),
        ("pan", texts(|card| card.pan.as_deref()), true),
        ("phone", texts(|card| card.phone.as_deref()), true),
        ("holder", texts(|card| Some(&card.holder)), true),
        ("note", texts(|card| card.note.as_deref()), true),
    ])?)
}

fn script(table: &str, cards: &[Card]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
    let rows: Vec<String> = cards
        .iter()
        .map(|card| {
            format!(
                "({}, {}, {}, {}, {}, {})",
                card.id,
                or_null(card.client_id.map(|id| id.to_string())),
                or_null(card.pan.as_deref().map(quoted)),
                or_null(card.phone.as_deref().map(quoted)),
                quoted(&card.holder),
                or_null(card.note.as_deref().map(quoted)),
            )
        })
        .collect();
    format!(
        "CREATE TABLE {table} (id BIGINT PRIMARY KEY, client_id BIGINT, pan VARCHAR(40), phone VARCHAR(40), holder VARCHAR(40), note VARCHAR(40));\nINSERT INTO {table} VALUES {};\n",
        rows.join(", ")
    )
}

struct Cards {
    folder: TempDir,
    urls: [(&'static str, String); 2],
}

impl Cards {
    /// The one set of sources of this test program: `card` under masks, `truth.card` as it then looks.
    async fn get() -> Result<&'static Self> {
        static SOURCES: OnceCell<Cards> = OnceCell::const_new();
        SOURCES.get_or_try_init(Self::make).await
    }

    async fn make() -> Result<Self> {
        let folder = TempDir::new()?;
        let whole = script("card", &cards());
        rusqlite::Connection::open(folder.path().join("lite.db"))?.execute_batch(&whole)?;
        let truth: Vec<Card> = cards().iter().map(masked).collect();
        rusqlite::Connection::open(folder.path().join("truth.db"))?.execute_batch(&script("card", &truth))?;
        let batch = batch(&cards())?;
        let mut writer = ArrowWriter::try_new(File::create(folder.path().join("card.parquet"))?, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
        let urls = [
            ("PG_URL", postgres.create_database("masks").await?),
            ("MY_URL", mariadb.create_database("masks").await?),
        ];
        postgres.run("masks", &whole).await.context("PostgreSQL")?;
        mariadb.run("masks", &whole).await.context("MariaDB")?;
        let masks: String = SOURCES
            .iter()
            .map(|source| {
                format!(
                    "      {source}.card.pan: token(pan)\n      {source}.card.client_id: token(client_id)\n      {source}.card.phone: partial(phone, 0, 2)\n      {source}.card.holder: concat('client ', CAST(id AS VARCHAR))\n      {source}.card.note: NULL\n"
                )
            })
            .collect();
        let project = format!(
            "version: 1
name: masks
server: {{ mask_key: \"${{env:MASK_KEY}}\" }}
sources:
  lite: {{ connector: sqlite, path: lite.db }}
  truth: {{ connector: sqlite, path: truth.db }}
  pg: {{ connector: postgres, url: \"${{env:PG_URL}}\" }}
  my: {{ connector: mysql, url: \"${{env:MY_URL}}\" }}
  parquet: {{ connector: files, path: ., tables: {{ card: {{ path: card.parquet, format: parquet }} }} }}
policies:
  everything: {{ roles: [all], tables: ['*'], admin: true }}
  masked:
    roles: [masked]
    tables: ['*.card']
    masks:
{masks}"
        );
        fs::write(folder.path().join("caliber.yaml"), project)?;
        Ok(Self { folder, urls })
    }

    async fn engine(&self, pushdown: bool) -> Result<Arc<Engine>> {
        let mut variables = self.urls.to_vec();
        variables.push(("MASK_KEY", KEY.to_owned()));
        let options = EngineOptions {
            pushdown,
            ..EngineOptions::default()
        };
        let (engine, warnings) = open(self.folder.path(), &variables, options).await?;
        ensure!(warnings.is_empty(), "{}", warnings[0].message);
        Ok(engine)
    }
}

/// Over `{t}`, a card table; `{1}` is a true number, `{2}` its token. With a total order where the answer is a list.
const CLAUSES: &[&str] = &[
    "SELECT * FROM {t} ORDER BY id",
    "SELECT id FROM {t} WHERE pan = '{1}' ORDER BY id",
    "SELECT id FROM {t} WHERE pan = '{2}' ORDER BY id",
    "SELECT id FROM {t} WHERE pan IN ('{1}', '4000999988887777') ORDER BY id",
    "SELECT id FROM {t} WHERE pan <> '{1}' ORDER BY id",
    "SELECT id FROM {t} WHERE pan LIKE '4000%' OR phone LIKE '+420%' ORDER BY id",
    "SELECT id FROM {t} WHERE phone LIKE '*%' ORDER BY id",
    "SELECT id FROM {t} WHERE pan BETWEEN '4' AND '5' ORDER BY id",
    "SELECT id FROM {t} WHERE substr(pan, 1, 4) = '4000' OR length(pan) = 16 ORDER BY id",
    "SELECT id FROM {t} WHERE client_id = 70 OR client_id < 0 ORDER BY id",
    "SELECT id FROM {t} WHERE note IS NULL AND pan IS NOT NULL ORDER BY id",
    "SELECT id FROM {t} WHERE CASE WHEN holder = 'Cy' THEN true ELSE holder = 'client 2' END ORDER BY id",
    "SELECT DISTINCT pan FROM {t} ORDER BY pan NULLS LAST",
    "SELECT pan, client_id, count(*) FROM {t} GROUP BY pan, client_id ORDER BY pan, client_id",
    "SELECT client_id, count(*) FROM {t} GROUP BY client_id HAVING max(pan) > '3' ORDER BY client_id",
    "SELECT min(pan), max(pan), count(DISTINCT pan), min(phone), max(client_id), count(note) FROM {t}",
    "SELECT id, row_number() OVER (PARTITION BY pan ORDER BY phone, id) FROM {t} ORDER BY id",
    "SELECT id FROM {t} ORDER BY pan, phone, id",
    "SELECT id FROM {t} ORDER BY pan DESC NULLS LAST, id LIMIT 2",
    "SELECT a.id, b.id FROM {t} AS a JOIN {t} AS b USING (pan) ORDER BY a.id, b.id",
    "SELECT a.id, b.id FROM {t} AS a LEFT JOIN {t} AS b ON a.client_id = b.client_id AND b.pan = '{1}' ORDER BY a.id, b.id",
    "SELECT id FROM {t} WHERE pan IN (SELECT pan FROM {t} WHERE phone LIKE '%56') ORDER BY id",
    "SELECT id FROM {t} AS a WHERE EXISTS (SELECT 1 FROM {t} AS b WHERE b.pan = a.pan AND b.id <> a.id) ORDER BY id",
    "SELECT id, (SELECT max(b.holder) FROM {t} AS b WHERE b.client_id = a.client_id) FROM {t} AS a ORDER BY id",
    "WITH c AS (SELECT pan AS p, holder AS note FROM {t}) SELECT p, note FROM c WHERE p = '{1}' OR note = 'client 5' ORDER BY p",
    "SELECT pan FROM {t} UNION SELECT phone FROM {t} ORDER BY 1 NULLS LAST",
    "SELECT pan FROM {t} EXCEPT SELECT '{1}' ORDER BY 1 NULLS LAST",
    "SELECT string_agg(phone, '|' ORDER BY id) FROM {t}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv3_every_clause_sees_the_mask_in_every_source() -> Result<()> {
    let number = cards()[0].pan.clone().unwrap_or_default();
    let its_token = masked(&cards()[0]).pan.unwrap_or_default();
    for pushdown in [true, false] {
        let engine = Cards::get().await?.engine(pushdown).await?;
        let (truth, governed) = (
            engine.session(principal(&["all"], &[])),
            engine.session(principal(&["masked"], &[])),
        );
        let mut differ = 0;
        for clause in CLAUSES {
            let over = |table: &str| {
                clause
                    .replace("{t}", table)
                    .replace("{1}", &number)
                    .replace("{2}", &its_token)
            };
            let wanted = ask(&truth, &over("truth.card"))
                .await
                .with_context(|| (*clause).to_owned())?;
            for source in SOURCES {
                let found = ask(&governed, &over(&format!("{source}.card")))
                    .await
                    .with_context(|| (*clause).to_owned())?;
                ensure!(
                    found == wanted,
                    "{source}, pushdown {pushdown}: {clause}\nfound {found:?}\nwanted {wanted:?}"
                );
            }
            differ += usize::from(ask(&truth, &over("lite.card")).await? != wanted);
        }
        // A clause that answers alike over the true values would prove nothing.
        ensure!(
            differ * 5 >= CLAUSES.len() * 4,
            "only {differ} clauses can tell a mask from none"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_join_across_sources_and_parameters_meet_them() -> Result<()> {
    let engine = Cards::get().await?.engine(true).await?;
    let session = engine.session(principal(&["masked"], &[]));
    let wanted: Vec<Vec<String>> = [
        ("1", "1"),
        ("1", "3"),
        ("2", "2"),
        ("3", "1"),
        ("3", "3"),
        ("5", "5"),
        ("6", "6"),
    ]
    .map(|(a, b)| vec![a.to_owned(), b.to_owned()])
    .into();
    for (one, other) in [("pg", "my"), ("my", "lite"), ("lite", "parquet"), ("parquet", "pg")] {
        for column in ["pan", "client_id"] {
            let sql = format!(
                "SELECT a.id, b.id FROM {one}.card AS a JOIN {other}.card AS b ON a.{column} = b.{column} ORDER BY a.id, b.id"
            );
            ensure!(ask(&session, &sql).await? == wanted, "{sql}");
        }
    }
    for (number, found) in [(cards()[0].pan.clone(), 0), (masked(&cards()[0]).pan, 2)] {
        let parameter = Arc::new(StringArray::from(vec![number.as_deref()])) as ArrayRef;
        let parameters = RecordBatch::try_from_iter([("$1", parameter)])?;
        let batches: Vec<_> = session
            .execute("SELECT id FROM pg.card WHERE pan = ?", Some(parameters))
            .await?
            .try_collect()
            .await?;
        ensure!(rows::texts(&batches)?.len() == found, "{number:?}");
    }
    Ok(())
}

/// Neither the true values nor what anybody could compute of them without the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_no_plain_hash() -> Result<()> {
    let engine = Cards::get().await?.engine(true).await?;
    let session = engine.session(principal(&["masked"], &[]));
    let mut cells = Vec::new();
    for source in SOURCES {
        cells.extend(
            ask(&session, &format!("SELECT pan, client_id, phone FROM {source}.card"))
                .await?
                .concat(),
        );
    }
    ensure!(cells.len() == 4 * 6 * 3);
    let pans = cards().into_iter().filter_map(|card| card.pan);
    let ids = cards().into_iter().filter_map(|card| card.client_id);
    let guesses: Vec<Vec<u8>> = pans
        .flat_map(|pan| [pan.clone().into_bytes(), format!("t{pan}").into_bytes()])
        .chain(ids.flat_map(|id| {
            let bytes = id.to_be_bytes();
            [
                id.to_string().into_bytes(),
                bytes.to_vec(),
                [b"n".as_slice(), &bytes].concat(),
            ]
        }))
        .collect();
    for guess in guesses {
        let mut hashes = Vec::new();
        for algorithm in [&digest::SHA256, &digest::SHA512, &digest::SHA1_FOR_LEGACY_USE_ONLY] {
            hashes.push(digest::digest(algorithm, &guess).as_ref().to_vec());
        }
        for key in [&b""[..], &[0; 32], b"token", b"mask_key", b"caliber"] {
            hashes.push(
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &guess)
                    .as_ref()
                    .to_vec(),
            );
        }
        for hash in hashes {
            let first: [u8; 8] = hash[..8].try_into()?;
            let (text, number) = (hex(&hash[..16]), u64::from_be_bytes(first) >> 1);
            ensure!(
                !cells
                    .iter()
                    .any(|cell| cell.contains(&text) || *cell == number.to_string())
            );
        }
        if let Ok(text) = String::from_utf8(guess)
            && text.len() > 1
        {
            ensure!(!cells.contains(&text), "{text}");
        }
    }
    Ok(())
}

/// With `token` a user could make a dictionary of tokens; so to him it is a function that never was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_can_call_a_mask_function() -> Result<()> {
    let engine = Cards::get().await?.engine(true).await?;
    for role in ["all", "masked"] {
        let session = engine.session(principal(&[role], &[]));
        let error = |sql: String| {
            let session = session.clone();
            async move {
                match ask(&session, &sql).await {
                    Ok(rows) => Err(anyhow!("{sql}: {rows:?}")),
                    Err(error) => Ok((error.code.as_str(), error.message, error.help)),
                }
            }
        };
        for (call, nothing) in [
            ("token", "nokem"),
            ("partial", "nortial"),
            ("TOKEN", "NOKEM"),
            ("\"token\"", "\"nokem\""),
        ] {
            for sql in [
                "SELECT {f}('4000123412341234')",
                "SELECT {f}(id) FROM lite.card",
                "SELECT id FROM lite.card WHERE pan = {f}('4000123412341234')",
                "SELECT {f}(1, 2, 3)",
                "SELECT * FROM {f}('x')",
                "SELECT {f}(id) OVER () FROM lite.card",
            ] {
                let (code, message, help) = error(sql.replace("{f}", call)).await?;
                let (code_of_none, message_of_none, help_of_none) = error(sql.replace("{f}", nothing)).await?;
                let plain = |text: &str, name: &str| {
                    text.replace(name.trim_matches('"'), "")
                        .replace(&name.trim_matches('"').to_lowercase(), "")
                };
                ensure!(code == code_of_none, "{sql}: {code}, {code_of_none}");
                ensure!(
                    plain(&message, call) == plain(&message_of_none, nothing),
                    "{message}, {message_of_none}"
                );
                let (help, help_of_none) = (help.unwrap_or_default(), help_of_none.unwrap_or_default());
                ensure!(
                    plain(&help, call) == plain(&help_of_none, nothing),
                    "{help}, {help_of_none}"
                );
            }
        }
        let (_, message, help) = error("SELECT tokens('x')".to_owned()).await?;
        ensure!(!format!("{message} {help:?}").contains("`token`"), "{message} {help:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_never_prints() -> Result<()> {
    let engine = Cards::get().await?.engine(true).await?;
    let session = engine.session(principal(&["masked"], &[]));
    let sql = "SELECT pan, phone FROM pg.card WHERE pan = 'x' AND 1 / (id - 1) > 0";
    let mut printed = vec![
        format!("{:?} {engine:?} {session:?}", engine.snapshot().project),
        session.explain(sql, true).await?,
        format!("{:?}", ask(&session, sql).await),
    ];
    printed.push(
        ask(
            &engine.session(principal(&["all"], &[])),
            &format!("EXPLAIN VERBOSE {sql}"),
        )
        .await?
        .concat()
        .concat(),
    );
    for text in printed {
        ensure!(
            !text.is_empty() && !text.contains(KEY) && !text.contains(&hex(KEY.as_bytes())),
            "{text}"
        );
        ensure!(!text.contains(&format!("{:?}", KEY.as_bytes())), "{text}");
    }
    Ok(())
}

/// The findings of a project with one masked column, each as its code and the text it points at.
async fn findings(server: &str, mask: &str) -> Result<Vec<String>> {
    let folder = TempDir::new()?;
    let table = "CREATE TABLE t (id INTEGER, name TEXT, amount DECIMAL(10,2), day DATE)";
    rusqlite::Connection::open(folder.path().join("s.db"))?.execute_batch(table)?;
    let (column, mask) = mask.split_once(": ").context("column: mask")?;
    fs::write(
        folder.path().join("caliber.yaml"),
        format!(
            "version: 1\nname: x\n{server}sources: {{ s: {{ connector: sqlite, path: s.db }} }}\npolicies:\n  p: {{ roles: [r], tables: [s.t], masks: {{ s.t.{column}: \"{mask}\" }} }}\n"
        ),
    )?;
    let told = |finding: Diagnostic| {
        let place = finding.place.map(|place| place.source.text[place.range].to_owned());
        format!("{} {}", finding.code.as_str(), place.unwrap_or_default())
    };
    let variables = [("MASK_KEY", KEY.to_owned())];
    let loaded = load(folder.path(), &Variables(&variables), &connector_kinds(FACTORIES));
    let (project, mut found) = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(errors.into_iter().map(told).collect()),
    };
    match Engine::open(Arc::new(project), FACTORIES, EngineOptions::default()).await {
        Ok((_, warnings)) => found.extend(warnings),
        Err(errors) => found.extend(errors),
    }
    Ok(found.into_iter().map(told).collect())
}

#[tokio::test]
async fn a_mask_that_cannot_be_is_found_when_the_project_is_opened() -> Result<()> {
    let keyed = "server: { mask_key: \"${env:MASK_KEY}\" }\n";
    for (server, mask, wanted) in [
        (keyed, "name: token(name)", vec![]),
        (keyed, "id: token(id)", vec![]),
        ("", "name: partial(name, 1, 1)", vec![]),
        ("", "name: token(name)", vec!["PRJ011 token(name)"]),
        ("", "id: TOKEN(id)", vec!["PRJ011 TOKEN(id)"]),
        (keyed, "amount: token(amount)", vec!["PRJ011 token(amount)"]),
        (keyed, "day: token(day)", vec!["PRJ011 token(day)"]),
        (keyed, "id: token(name)", vec!["PRJ011 token(name)"]),
        (keyed, "name: token()", vec!["PRJ011 token()"]),
        (keyed, "id: partial(id, 1, 1)", vec!["PRJ011 partial(id, 1, 1)"]),
        (
            "server: { mask_key: short }\n",
            "name: token(name)",
            vec!["PRJ004 short", "PRJ018 short"],
        ),
        (
            "server: { mask_key: 0123456789abcdef0123456789abcdef }\n",
            "name: token(name)",
            vec!["PRJ018 0123456789abcdef0123456789abcdef"],
        ),
    ] {
        let mut found = findings(server, mask).await?;
        found.sort();
        ensure!(found == wanted, "{server}{mask}: {found:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// What a session without masks sees, so that the rest compares with something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_without_the_mask_shows_the_values() -> Result<()> {
    let engine = Cards::get().await?.engine(true).await?;
    let both: Session = engine.session(principal(&["all", "masked"], &[]));
    for source in SOURCES {
        let found = ask(&both, &format!("SELECT holder FROM {source}.card ORDER BY id"))
            .await?
            .concat();
        ensure!(
            found == cards().into_iter().map(|card| card.holder).collect::<Vec<_>>(),
            "{source}: {found:?}"
        );
    }
    Ok(())
}
