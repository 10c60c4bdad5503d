//! The program as a newcomer meets it: the demo and what it prints, results for programs, exit codes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use caliber_tests::flight::Client;
use caliber_tests::program::{self, Finished, Server, run};
use caliber_tests::python;
use tempfile::TempDir;

/// A small bank in a folder, made once.
fn bank() -> Result<&'static Path> {
    static BANK: OnceLock<std::result::Result<TempDir, String>> = OnceLock::new();
    let made = BANK.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map(TempDir::path).map_err(|error| anyhow!("{error}"))
}

fn make() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    demo(folder.path())?.stop(Duration::from_secs(10))?;
    Ok(folder)
}

fn demo(folder: &Path) -> Result<Server> {
    let folder = folder.to_str().context("a folder that is not UTF-8")?;
    Server::start(
        &["demo", "--customers", "200", "--dir", folder, "--listen", "127.0.0.1:0"],
        [],
    )
}

/// `caliber sql` over the bank's project, in its own process.
fn sql(user: &str, statement: &str, more: &[&str]) -> Result<Finished> {
    let folder = bank()?.to_str().context("a folder that is not UTF-8")?;
    run(
        &[&["sql", "--project", folder, "--as", user, "-c", statement], more].concat(),
        [],
    )
}

/// What the demo prints works as printed: the `caliber sql` line in a shell, the snippet in Python.
#[test]
fn the_demo_s_lines_work_as_printed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = demo(folder.path())?;
    let printed = server.printed(|text| text.contains("caliber sql") && text.contains("fetch"))?;
    let line = printed
        .lines()
        .map(str::trim)
        .find(|line| line.contains("caliber sql"))
        .context("no `caliber sql` line")?;
    let program = program::program()?;
    let path = format!(
        "{}:{}",
        program.parent().context("no folder")?.display(),
        std::env::var_os("PATH").unwrap_or_default().to_string_lossy()
    );
    let shell = Command::new("sh")
        .args(["-c", line])
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()?;
    let notes = String::from_utf8_lossy(&shell.stderr);
    ensure!(shell.status.success(), "`{line}` failed: {notes}");
    ensure!(!shell.stdout.is_empty(), "`{line}` printed nothing");

    let Some(python) = python::interpreter("the demo's Python snippet")? else {
        return Ok(());
    };
    let snippet = snippet(&printed).with_context(|| format!("no Python snippet in\n{printed}"))?;
    let output = Command::new(python)
        .args(["-c", &snippet])
        .stdin(Stdio::null())
        .output()?;
    let notes = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the snippet failed: {notes}\n{snippet}");
    ensure!(!output.stdout.is_empty(), "the snippet printed nothing\n{snippet}");
    Ok(())
}

/// The printed lines from the first `import` on, as far as they are indented alike or deeper, without that indent.
fn snippet(printed: &str) -> Option<String> {
    let mut lines = printed
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("import "))
        .peekable();
    let indent = lines.peek()?.len() - lines.peek()?.trim_start().len();
    let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent;
    let snippet: Vec<&str> = lines
        .take_while(inside)
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect();
    // Without an indent of its own, the snippet ends at the first blank line.
    let end = if indent == 0 {
        snippet.iter().position(|line| line.is_empty()).unwrap_or(snippet.len())
    } else {
        snippet.len()
    };
    Some(snippet[..end].join("\n"))
}

#[tokio::test]
async fn sigterm_lets_the_server_end_in_good_order() -> Result<()> {
    let folder = bank()?.to_str().context("a folder that is not UTF-8")?;
    let server = Server::start(&["serve", "--project", folder, "--listen", "127.0.0.1:0"], [])?;
    let client = Client::connect(&server.uri, "olga").await?;
    ensure!(client.rows("SELECT count(*) FROM accounting.customer").await? == [["200"]]);
    drop(client);
    let uri = server.uri.clone();
    // Elsewhere, for this thread also drives the client's connection to its end.
    let stopping = tokio::task::spawn_blocking(move || server.stop(Duration::from_secs(20)));
    let (status, printed) = stopping.await??;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(
        printed.starts_with(&format!("flight-sql listening on {uri}\n")),
        "{printed}"
    );
    ensure!(Client::anonymous(&uri).await.is_err(), "it still listens");
    Ok(())
}

#[test]
fn results_come_in_every_format() -> Result<()> {
    let statement = "SELECT branch_id, count(*) AS n FROM accounting.customer WHERE branch_id = 1 GROUP BY branch_id";
    let counted = sql("petr", statement, &["-o", "jsonl"])?;
    ensure!(counted.code == Some(0), "{counted:?}");
    let row: serde_json::Value = serde_json::from_str(counted.out.trim())?;
    let n = row["n"]
        .as_i64()
        .filter(|n| *n > 0)
        .with_context(|| counted.out.clone())?;

    let json: serde_json::Value = serde_json::from_str(&sql("petr", statement, &["-o", "json"])?.out)?;
    ensure!(json == serde_json::json!([{ "branch_id": 1, "n": n }]), "{json}");
    let csv = sql("petr", statement, &["-o", "csv"])?.out;
    ensure!(csv.replace("\r\n", "\n") == format!("branch_id,n\n1,{n}\n"), "{csv}");
    let table = sql("petr", statement, &["-o", "table"])?.out;
    ensure!(table.contains("branch_id") && table.contains(&n.to_string()), "{table}");
    Ok(())
}

#[test]
fn an_empty_result_is_valid_in_every_format() -> Result<()> {
    let statement = "SELECT customer_id FROM accounting.customer WHERE customer_id < 0";
    ensure!(sql("olga", statement, &["-o", "json"])?.out.trim() == "[]");
    ensure!(sql("olga", statement, &["-o", "jsonl"])?.out.is_empty());
    ensure!(sql("olga", statement, &["-o", "csv"])?.out.trim_end() == "customer_id");
    Ok(())
}

#[test]
fn exit_codes_tell_who_must_act() -> Result<()> {
    let codes = [
        ("SELECT 1", 0),
        ("SELECT FROM", 1),
        ("SELECT amont FROM credit.loan", 1),
        ("SELECT * FROM no_such_schema.t", 1),
        ("DELETE FROM credit.loan", 4),
    ];
    for (statement, wanted) in codes {
        let finished = sql("olga", statement, &[])?;
        ensure!(
            finished.code == Some(wanted),
            "{statement}: {finished:?}, wanted {wanted}"
        );
        ensure!(
            wanted == 0 || finished.out.is_empty(),
            "{statement}: an error on standard output"
        );
    }
    ensure!(run(&["sql", "--no-such-option"], [])?.code == Some(2));
    let nobody = ["sql", "--uri", "grpc://127.0.0.1:1", "--user", "olga", "-c", "SELECT 1"];
    ensure!(run(&nobody, [("CALIBER_PASSWORD", "olga")])?.code == Some(3));
    Ok(())
}

#[test]
fn a_remote_statement_is_the_same_and_a_wrong_password_is_3() -> Result<()> {
    let folder = bank()?.to_str().context("a folder that is not UTF-8")?;
    let server = Server::start(&["serve", "--project", folder, "--listen", "127.0.0.1:0"], [])?;
    let statement = "SELECT loan_id, amount, status FROM credit.loan ORDER BY loan_id LIMIT 5";
    let remote = [
        "sql",
        "--uri",
        &server.uri,
        "--user",
        "karl",
        "-o",
        "csv",
        "-c",
        statement,
    ];
    let answered = run(&remote, [("CALIBER_PASSWORD", "karl")])?;
    ensure!(answered.code == Some(0), "{answered:?}");
    ensure!(
        answered.out == sql("karl", statement, &["-o", "csv"])?.out,
        "{}",
        answered.out
    );
    let refused = run(&remote, [("CALIBER_PASSWORD", "wrong")])?;
    ensure!(
        refused.code == Some(3) && refused.notes.contains("SRV001"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn an_error_shows_code_place_and_caret() -> Result<()> {
    let finished = sql("olga", "SELECT amont FROM credit.loan", &[])?;
    for part in [
        "error[SQL012]: ",
        "--> query:1:8",
        "SELECT amont FROM credit.loan",
        "^^^^^ did you mean `amount`?",
    ] {
        ensure!(finished.notes.contains(part), "`{part}` is not in\n{}", finished.notes);
    }
    Ok(())
}

#[test]
fn explain_shows_a_user_no_statement_of_a_source() -> Result<()> {
    let folder = bank()?.to_str().context("a folder that is not UTF-8")?;
    let statement = "SELECT count(*) FROM credit.loan WHERE status = 'current'";
    let finished = run(&["explain", "--project", folder, "--as", "karl", statement], [])?;
    ensure!(finished.code == Some(0), "{finished:?}");
    ensure!(finished.out.contains("loan"), "{}", finished.out);
    Ok(())
}

#[test]
fn a_password_is_hashed_from_standard_input() -> Result<()> {
    let mut command = program::command(&caliber_tests::root(), &["hash-password"], [])?;
    let mut hashing = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    hashing
        .stdin
        .take()
        .context("no standard input")?
        .write_all(b"canary\n")?;
    let output = hashing.wait_with_output()?;
    let out = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        out.trim_end().starts_with("$argon2id$v=19$") && !out.contains("canary"),
        "{out}"
    );
    Ok(())
}

#[test]
fn every_command_s_help_ends_with_examples() -> Result<()> {
    for command in ["demo", "check", "serve", "sql", "explain", "audit", "hash-password"] {
        let help = run(&[command, "--help"], [])?;
        ensure!(help.code == Some(0), "{command}: {help:?}");
        let examples = help.out.rsplit("Examples:").next().unwrap_or_default();
        let count = examples.lines().filter(|line| line.contains("caliber ")).count();
        ensure!(count >= 2, "{command}: {count} examples in\n{}", help.out);
    }
    Ok(())
}
