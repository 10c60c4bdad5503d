//! `caliber metric`: the metrics a user sees, what each means, and their values.
//!
//! Owns: the arguments, and the statements made of them. Never: what a metric is; that is the user's own catalog.

use std::io::Write;

use caliber_engine::ComparedBy;
use clap::{Args, Subcommand};

use super::failure::{Failure, note};
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
    /// Where two metrics differ, in parts that add up
    Diff {
        /// The metric
        one: String,
        /// The other, which is taken from it
        other: String,
        #[command(flatten)]
        among: Among,
        /// The format; by default a table
        #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
        output: Option<Format>,
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
    #[command(flatten)]
    among: Among,
}

/// Which values are asked for.
#[derive(Args, Debug, Default)]
struct Among {
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

impl Among {
    /// What is grouped by, each with the name of its column.
    fn groups(&self) -> Vec<(String, String)> {
        let of = |name: &String| {
            let word = name.trim().to_lowercase();
            if PERIODS.contains(&word.as_str()) {
                (format!("CAST(date_trunc('{word}', metric_time) AS DATE)"), word)
            } else {
                (quoted(name), name.trim().to_owned())
            }
        };
        self.by.iter().map(of).collect()
    }

    fn conditions(&self) -> Result<Vec<String>, Failure> {
        let mut conditions: Vec<String> = self.condition.iter().map(|sql| format!("({sql})")).collect();
        if let Some(day) = &self.as_of {
            if !day.chars().all(|c| c.is_ascii_digit() || c == '-') {
                return Err(Failure::Usage(format!("`{day}` is no date: write 2026-01-31")));
            }
            conditions.push(format!("metric_time <= DATE '{day}'"));
        }
        Ok(conditions)
    }
}

impl Asked {
    /// The statement that answers it.
    fn statement(&self) -> Result<String, Failure> {
        let groups = self.among.groups();
        let mut selected: Vec<String> = groups
            .iter()
            .map(|(sql, name)| match quoted(name) {
                name if *sql == name => name,
                name => format!("{sql} AS {name}"),
            })
            .collect();
        for name in &self.names {
            selected.push(format!("MEASURE({}) AS {}", quoted(name), quoted(name)));
        }
        let conditions = self.among.conditions()?;
        let mut sql = format!(
            "SELECT {} FROM unified.{}",
            selected.join(", "),
            quoted(&format!("{}_metrics", self.among.entity))
        );
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if !groups.is_empty() {
            let list: Vec<String> = (1..=groups.len()).map(|at| at.to_string()).collect();
            let list = list.join(", ");
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
            What::Diff {
                one,
                other,
                among,
                output,
                target,
            } => return compared(&target, (&one, &other), &among, show(output, Layout::Rows)).await,
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

/// Prints the parts of a difference, and on standard error what each of them counts.
async fn compared(target: &Target, (one, other): (&str, &str), among: &Among, show: Show) -> Result<(), Failure> {
    let Client::Local(session, workers) = target.open().await? else {
        let message = "`metric diff` defines the parts of a difference in the project: name it with --project and --as";
        return Err(Failure::Usage(message.to_owned()));
    };
    let conditions = among.conditions()?;
    let by = ComparedBy {
        entity: among.entity.clone(),
        groups: among.groups(),
        condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
    };
    let comparison = session.compare_metrics(one.trim(), other.trim(), &by)?;
    let mut client = Client::Local(comparison.session, workers);
    let outcome = run_one(&mut client, &comparison.sql, show).await;
    client.close().await;
    outcome?;
    for (column, meaning) in &comparison.parts {
        note!("{column}: {meaning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_statement() {
        let asked = Asked {
            names: vec!["loan_amount".into(), "odd\"name".into()],
            among: Among {
                by: vec!["region".into(), "Month".into()],
                condition: Some("gender = 'F'".into()),
                as_of: Some("1994-01-31".into()),
                entity: "customer".into(),
            },
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
            among: Among {
                as_of: Some("2026-01-31' OR 'a' = 'a".into()),
                entity: "customer".into(),
                ..Among::default()
            },
        };
        assert!(matches!(asked.statement(), Err(Failure::Usage(_))));
    }
}
