//! `caliber metric`: the metrics a user sees, what each means, and their values.
//!
//! Owns: the arguments, and the statements made of them. Never: what a metric is; that is the user's own catalog.

use std::io::Write;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::{Format, Layout};
use super::rows::{Client, Target};
use super::sql::{Show, run_one};

/// List the metrics a user sees, show what one means, and ask for its values
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  caliber metric ls --project bank --as anna
  caliber metric run deposit_balance --by region,month --where \"gender = 'F'\" --project bank --as anna")]
pub struct Metric {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Every metric, with its owner and what it says
    Ls {
        #[command(flatten)]
        target: Target,
    },
    /// A metric's definition, owner, version and the columns it comes from
    Show {
        /// The metric
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// How a metric is computed: what each source is asked
    Sql {
        #[command(flatten)]
        asked: Asked,
        #[command(flatten)]
        target: Target,
    },
    /// The values of metrics
    Run {
        #[command(flatten)]
        asked: Asked,
        /// The format; by default a table
        #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
        output: Option<Format>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Args, Debug)]
struct Asked {
    /// The metric, or several with commas between them
    #[arg(value_delimiter = ',', required = true)]
    names: Vec<String>,
    /// What to group by: attributes, dimensions, and day, week, month, quarter or year
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    by: Vec<String>,
    /// A condition on attributes and `metric_time`
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// As it was at the end of this day
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// The entity whose metrics they are
    #[arg(long, value_name = "NAME", default_value = "customer")]
    entity: String,
}

/// Names of periods that `--by` takes.
const PERIODS: [&str; 5] = ["day", "week", "month", "quarter", "year"];

impl Asked {
    /// The statement that answers it.
    fn statement(&self) -> Result<String, Failure> {
        let mut selected = Vec::new();
        for name in &self.by {
            let word = name.trim().to_lowercase();
            if PERIODS.contains(&word.as_str()) {
                selected.push(format!("CAST(date_trunc('{word}', metric_time) AS DATE) AS {word}"));
            } else {
                selected.push(quoted(name));
            }
        }
        let groups: Vec<String> = (1..=selected.len()).map(|at| at.to_string()).collect();
        for name in &self.names {
            selected.push(format!("MEASURE({}) AS {}", quoted(name), quoted(name)));
        }
        let mut conditions: Vec<String> = self.condition.iter().map(|sql| format!("({sql})")).collect();
        if let Some(day) = &self.as_of {
            if !day.chars().all(|c| c.is_ascii_digit() || c == '-') {
                return Err(Failure::Usage(format!("`{day}` is no date: write 2026-01-31")));
            }
            conditions.push(format!("metric_time <= DATE '{day}'"));
        }
        let mut sql = format!(
            "SELECT {} FROM unified.{}",
            selected.join(", "),
            quoted(&format!("{}_metrics", self.entity))
        );
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if !groups.is_empty() {
            let list = groups.join(", ");
            sql.push_str(&format!(" GROUP BY {list} ORDER BY {list}"));
        }
        Ok(sql)
    }
}

/// A name as SQL writes it; one that needs no quotes is found without case.
fn quoted(name: &str) -> String {
    let name = name.trim();
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if is_plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

impl Metric {
    /// Prints what is asked for.
    pub async fn run(self) -> Result<(), Failure> {
        let show = |format: Option<Format>, layout: Layout| Show {
            format: format.unwrap_or(Format::Table),
            layout,
            note: false,
        };
        let (target, sql, show) = match self.what {
            What::Ls { target } => {
                let sql = "SELECT metric, kind, unit, owner, description FROM caliber.metrics ORDER BY metric";
                (target, sql.to_owned(), show(None, Layout::Rows))
            }
            What::Show { name, target } => {
                let text = name.trim().replace('\'', "''");
                let sql = format!("SELECT * FROM caliber.metrics WHERE lower(metric) = lower('{text}')");
                (target, sql, show(None, Layout::Expanded))
            }
            What::Sql { asked, target } => return explained(&target, &asked.statement()?).await,
            What::Run { asked, output, target } => (target, asked.statement()?, show(output, Layout::Rows)),
        };
        let mut client = target.open().await?;
        let outcome = run_one(&mut client, &sql, show).await;
        client.close().await;
        outcome
    }
}

async fn explained(target: &Target, sql: &str) -> Result<(), Failure> {
    let mut client = target.open().await?;
    let text = match &mut client {
        Client::Local(session, _) => session.explain(sql, true).await?,
        Client::Remote(_) => super::explain::last_column(client.run(&format!("EXPLAIN {sql}")).await?).await?,
    };
    client.close().await;
    writeln!(std::io::stdout(), "{sql};\n\n{}", text.trim_end())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_statement() {
        let asked = Asked {
            names: vec!["loan_amount".into(), "odd\"name".into()],
            by: vec!["region".into(), "Month".into()],
            condition: Some("gender = 'F'".into()),
            as_of: Some("1994-01-31".into()),
            entity: "customer".into(),
        };
        let Ok(sql) = asked.statement() else { panic!("refused") };
        assert_eq!(
            sql,
            "SELECT region, CAST(date_trunc('month', metric_time) AS DATE) AS month, MEASURE(loan_amount) AS loan_amount, \
             MEASURE(\"odd\"\"name\") AS \"odd\"\"name\" FROM unified.customer_metrics WHERE (gender = 'F') AND metric_time <= \
             DATE '1994-01-31' GROUP BY 1, 2 ORDER BY 1, 2"
        );
    }

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        let asked = Asked {
            names: vec!["m".into()],
            by: Vec::new(),
            condition: None,
            as_of: Some("2026-01-31' OR 'a' = 'a".into()),
            entity: "customer".into(),
        };
        assert!(matches!(asked.statement(), Err(Failure::Usage(_))));
    }
}
