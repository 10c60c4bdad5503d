//! A table with a column of every type a database has, each with ordinary, extreme and hostile values.
//!
//! Owns: the columns, what is stored in them, the values that no Arrow type of ours holds. Never: what a value looks
//! like once it is read; the database's own client says that.

mod mysql;
mod postgres;
mod sqlite;

/// One column of a torture table.
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type and what else stands in its declaration.
    pub declared: &'static str,
    /// Literals of the database's SQL; empty where it computes the column itself.
    pub values: &'static [&'static str],
}

/// One value that its column may hold and no Arrow type of ours can: reading it is an error that names the column.
pub struct Refused {
    /// Its table's name.
    pub table: &'static str,
    /// The type of its column `c`.
    pub declared: &'static str,
    /// The literal.
    pub value: &'static str,
}

/// The torture of one kind of database.
pub struct Torture {
    /// What has to be there before the tables, ended as statements are.
    pub before: &'static str,
    /// The columns of the table `torture`, beside its key `id`.
    pub columns: &'static [Column],
    /// The values that are refused.
    pub refused: &'static [Refused],
    /// What stands around a name.
    quote: char,
}

/// Of PostgreSQL 14 and later, with its `citext`.
pub const POSTGRES: Torture = Torture {
    before: postgres::BEFORE,
    columns: postgres::COLUMNS,
    refused: postgres::REFUSED,
    quote: '"',
};

/// Of MariaDB 10.7 and later.
pub const MARIADB: Torture = Torture {
    before: mysql::BEFORE,
    columns: mysql::COLUMNS,
    refused: mysql::REFUSED,
    quote: '`',
};

/// Of SQLite.
pub const SQLITE: Torture = Torture {
    before: "",
    columns: sqlite::COLUMNS,
    refused: sqlite::REFUSED,
    quote: '"',
};

impl Column {
    /// Whether the database computes it.
    pub fn is_generated(&self) -> bool {
        self.values.is_empty()
    }
}

impl Torture {
    /// The statements that make the tables and fill all but `torture_empty`.
    ///
    /// The first and the last row hold NULL alone, so that whoever guesses a type by a first row is found out. Every row
    /// between is there twice, so that groups have more than one.
    pub fn script(&self) -> String {
        let mut script = self.before.to_owned();
        let declared: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} {}", self.quoted(column.name), column.declared))
            .collect();
        let declared = declared.join(",\n  ");
        for table in ["torture", "torture_empty"] {
            script.push_str(&format!(
                "CREATE TABLE {table} (\n  id int NOT NULL PRIMARY KEY,\n  {declared});\n"
            ));
        }
        let stored: Vec<&Column> = self.columns.iter().filter(|column| !column.is_generated()).collect();
        let names: Vec<String> = stored.iter().map(|column| self.quoted(column.name)).collect();
        let names = names.join(", ");
        for (id, at) in self.rows().into_iter().enumerate() {
            let value = |column: &&Column| at.and_then(|at| column.values.get(at)).copied().unwrap_or("NULL");
            let values: Vec<&str> = stored.iter().map(value).collect();
            let values = values.join(", ");
            script.push_str(&format!("INSERT INTO torture (id, {names}) VALUES ({id}, {values});\n"));
        }
        for Refused { table, declared, value } in self.refused {
            script.push_str(&format!(
                "CREATE TABLE {table} (id int NOT NULL PRIMARY KEY, c {declared});\nINSERT INTO {table} VALUES (1, {value});\n"
            ));
        }
        script
    }

    /// A name as the database takes it.
    pub fn quoted(&self, name: &str) -> String {
        let quote = self.quote;
        format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")))
    }

    /// Which value of each column a row holds.
    fn rows(&self) -> Vec<Option<usize>> {
        let most = self.columns.iter().map(|column| column.values.len()).max();
        let values = (0..most.unwrap_or(0)).flat_map(|at| [Some(at), Some(at)]);
        std::iter::once(None).chain(values).chain([None]).collect()
    }
}
