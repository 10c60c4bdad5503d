//! A source's table changes while Caliber serves: what is new is not there, what is gone or another is an error before the first
//! row, and a policy whose column is gone opens nothing (INV-4).

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use caliber_engine::{Engine, EngineError, EngineOptions};
use caliber_testkit::{MariaDb, Postgres};
use caliber_tests::engine::{ask, open, principal};
use tempfile::TempDir;

const TABLES: &str = "CREATE TABLE n (id int NOT NULL PRIMARY KEY, region varchar(20), amount int);\n\
    INSERT INTO n VALUES (1, 'north', 10), (2, 'south', 20), (3, 'north', 30);\n";

/// Which rows a clerk sees is said by a column that he does not see; once compared by the source, once here.
const POLICIES: &str = "policies:
  everything: { roles: [all], tables: ['*'] }
  pushed: { roles: [pushed], tables: [shop.n], columns: { shop.n: [id] }, rows: { shop.n: \"region = 'north'\" } }
  here: { roles: [here], tables: [shop.n], columns: { shop.n: [id] }, rows: { shop.n: \"upper(region) = 'NORTH'\" } }
";

/// One kind of source, loaded anew for each change.
enum Kind {
    Postgres(&'static Postgres),
    MariaDb(&'static MariaDb),
    Sqlite,
}

struct Shop {
    kind: Kind,
    name: String,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Shop {
    async fn open(kind: Kind, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let (connector, url) = match &kind {
            Kind::Postgres(server) => ("postgres, url: '${env:URL}'", Some(server.create_database(name).await?)),
            Kind::MariaDb(server) => ("mysql, url: '${env:URL}'", Some(server.create_database(name).await?)),
            Kind::Sqlite => ("sqlite, path: shop.db", None),
        };
        let text = format!("version: 1\nname: small\nsources:\n  shop: {{ connector: {connector} }}\n{POLICIES}");
        std::fs::write(folder.path().join("caliber.yaml"), text)?;
        let shop = Self {
            kind,
            name: name.to_owned(),
            folder,
            variables: url.into_iter().map(|url| ("URL", url)).collect(),
        };
        shop.run(TABLES).await?;
        Ok(shop)
    }

    async fn run(&self, sql: &str) -> Result<()> {
        match &self.kind {
            Kind::Postgres(server) => server.run(&self.name, sql).await,
            Kind::MariaDb(server) => server.run(&self.name, sql).await,
            Kind::Sqlite => Ok(rusqlite::Connection::open(self.folder.path().join("shop.db"))?.execute_batch(sql)?),
        }
    }

    async fn engine(&self) -> Result<Arc<Engine>> {
        Ok(open(self.folder.path(), &self.variables, EngineOptions::default())
            .await?
            .0)
    }

    async fn reload(&self) -> Result<()> {
        self.run(&format!("DROP TABLE n;\n{TABLES}")).await
    }
}

async fn shops(name: &str) -> Result<Vec<Shop>> {
    let (postgres, mariadb) = (Postgres::shared()?, MariaDb::shared()?);
    Ok(vec![
        Shop::open(Kind::Postgres(postgres), name).await?,
        Shop::open(Kind::MariaDb(mariadb), name).await?,
        Shop::open(Kind::Sqlite, name).await?,
    ])
}

async fn ids(engine: &Arc<Engine>, role: &str) -> std::result::Result<Vec<Vec<String>>, EngineError> {
    ask(
        &engine.session(principal(&[role], &[])),
        "SELECT id FROM shop.n ORDER BY id",
    )
    .await
}

/// What a client is told: the source's alias and a code, and no name that it may not know.
fn is_safe(error: &EngineError) -> Result<()> {
    let shown = format!("{error:?}");
    ensure!(error.message.contains("`shop`"), "{shown}");
    ensure!(!shown.contains("region") && !shown.contains("north"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn a_policy_whose_column_is_gone_opens_nothing() -> Result<()> {
    for shop in shops("drift_policy").await? {
        let engine = shop.engine().await?;
        for role in ["pushed", "here"] {
            ensure!(ids(&engine, role).await? == [["1"], ["3"]], "{role}");
        }
        for change in [
            "ALTER TABLE n DROP COLUMN region",
            "ALTER TABLE n RENAME COLUMN region TO area",
        ] {
            shop.run(change).await?;
            for role in ["pushed", "here"] {
                let error = ids(&engine, role)
                    .await
                    .err()
                    .with_context(|| format!("{role}: rows after {change}"))?;
                ensure!(error.code.as_str() == "SRC004", "{role}: {change}: {error:?}");
                is_safe(&error)?;
            }
            // Opened again, the policy has nothing to go by: it is refused, or the table does not exist.
            if let Ok(anew) = shop.engine().await {
                for role in ["pushed", "here"] {
                    let found = ids(&anew, role).await;
                    ensure!(found.is_err(), "{role} after {change}: {found:?}");
                }
            }
            shop.reload().await?;
        }
    }
    Ok(())
}

/// A column that a policy alone reads is not named, whatever is wrong with it.
#[tokio::test]
async fn inv4_what_is_wrong_with_a_column_of_a_policy_does_not_name_it() -> Result<()> {
    for shop in shops("drift_hidden").await? {
        let engine = shop.engine().await?;
        let (retyped, roles): (_, &[&str]) = match shop.kind {
            Kind::Postgres(_) => ("ALTER TABLE n ALTER region TYPE int USING id", &["pushed", "here"]),
            // What is compared there and not read is compared as what it is now.
            Kind::MariaDb(_) => ("UPDATE n SET region = 1; ALTER TABLE n MODIFY region int", &["here"]),
            Kind::Sqlite => (
                "DROP TABLE n; CREATE TABLE n (id int NOT NULL PRIMARY KEY, region INT, amount int); \
                 INSERT INTO n VALUES (1, 1, 10)",
                &["pushed", "here"],
            ),
        };
        for change in retyped.split_inclusive(';') {
            shop.run(change).await?;
        }
        for role in roles {
            let error = ids(&engine, role)
                .await
                .err()
                .with_context(|| format!("{role}: rows"))?;
            ensure!(error.code.as_str() == "SRC004", "{role}: {error:?}");
            is_safe(&error)?;
        }
        shop.reload().await?;
    }
    let folder = TempDir::new()?;
    let database = rusqlite::Connection::open(folder.path().join("shop.db"))?;
    database
        .execute_batch("CREATE TABLE n (id INTEGER PRIMARY KEY, region DATE); INSERT INTO n VALUES (1, 'north')")?;
    let text = "version: 1\nname: small\nsources:\n  shop: { connector: sqlite, path: shop.db }\npolicies:\n  \
        here: { roles: [here], tables: [shop.n], columns: { shop.n: [id] }, rows: { shop.n: \"upper(CAST(region AS text)) > 'A'\" } }\n  \
        pushed: { roles: [pushed], tables: [shop.n], columns: { shop.n: [id] }, rows: { shop.n: \"region > DATE '2000-01-01'\" } }\n  \
        clear: { roles: [clear], tables: [shop.n] }\n";
    std::fs::write(folder.path().join("caliber.yaml"), text)?;
    let (engine, _) = open(folder.path(), &[], EngineOptions::default()).await?;
    for role in ["here", "pushed"] {
        let session = engine.session(principal(&[role], &[]));
        for sql in [
            "SELECT id FROM shop.n",
            "SELECT count(*) FROM shop.n",
            "SELECT id, count(*) FROM shop.n GROUP BY id",
        ] {
            let error = ask(&session, sql)
                .await
                .err()
                .with_context(|| format!("{role}: {sql}: no date"))?;
            ensure!(error.code.as_str() == "SRC003", "{role}: {sql}: {error:?}");
            is_safe(&error)?;
        }
    }
    // Who may see the column is told which it is.
    let clear = engine.session(principal(&["clear"], &[]));
    let error = ask(&clear, "SELECT max(region) FROM shop.n")
        .await
        .err()
        .context("no date")?;
    ensure!(
        error.code.as_str() == "SRC003" && error.message.contains("`n.region`"),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_column_of_another_type_is_an_error_before_the_first_row() -> Result<()> {
    for shop in shops("drift_type").await? {
        let engine = shop.engine().await?;
        let session = engine.session(principal(&["all"], &[]));
        let retyped = match shop.kind {
            Kind::Postgres(_) => "ALTER TABLE n ALTER amount TYPE varchar(20)",
            Kind::MariaDb(_) => "ALTER TABLE n MODIFY amount varchar(20)",
            Kind::Sqlite => {
                "DROP TABLE n; CREATE TABLE n (id int NOT NULL PRIMARY KEY, region varchar(20), amount TEXT); \
                 INSERT INTO n VALUES (1, 'north', '10')"
            }
        };
        for change in [
            retyped,
            "ALTER TABLE n DROP COLUMN amount",
            "ALTER TABLE n RENAME COLUMN amount TO sum",
        ] {
            shop.run(change).await?;
            for sql in [
                "SELECT amount FROM shop.n",
                "SELECT * FROM shop.n",
                "SELECT amount + 1 FROM shop.n WHERE id > 0",
            ] {
                let error = ask(&session, sql)
                    .await
                    .err()
                    .with_context(|| format!("{sql}: rows after {change}"))?;
                ensure!(error.code.as_str() == "SRC004", "{change}: {sql}: {error:?}");
                is_safe(&error)?;
            }
            shop.reload().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn inv4_a_new_column_is_not_there_until_it_is_granted() -> Result<()> {
    for shop in shops("drift_new").await? {
        let engine = shop.engine().await?;
        shop.run("ALTER TABLE n ADD COLUMN fresh int").await?;
        let told = async |engine: &Arc<Engine>, role: &str, name: &str| {
            let session = engine.session(principal(&[role], &[]));
            let error = ask(&session, &format!("SELECT {name} FROM shop.n")).await.err();
            error.map(|error| format!("{error:?}").replace(name, "it"))
        };
        let session = engine.session(principal(&["all"], &[]));
        let rows = ask(&session, "SELECT * FROM shop.n ORDER BY id").await?;
        ensure!(rows.first().context("rows")?.len() == 3, "{rows:?}");
        for role in ["all", "pushed"] {
            let (fresh, never) = (told(&engine, role, "fresh").await, told(&engine, role, "never").await);
            ensure!(fresh.is_some() && fresh == never, "{role}: {fresh:?} for {never:?}");
        }
        // Who lists columns grants them one by one; who grants all of a table grants the next too.
        let anew = shop.engine().await?;
        ensure!(told(&anew, "all", "fresh").await.is_none());
        let (fresh, never) = (
            told(&anew, "pushed", "fresh").await,
            told(&anew, "pushed", "never").await,
        );
        ensure!(fresh.is_some() && fresh == never, "{fresh:?} for {never:?}");
    }
    Ok(())
}
