//! Whether a scan is read in ranges of blocks, over several connections, and which ones.
//!
//! Owns: the decision, the blocks of a range, how a statement asks for them. Never: a connection, a row.
//!
//! A row's `ctid` holds the number of its block. The ranges cover every number a block can have, so together they
//! give each row of the snapshot once, whatever the table grew or shrank to since its size was asked for.

use bytes::BufMut;
use caliber_connector_spi::{Comparison, Expr, RemoteQuery, RemoteTable, RenderedQuery, TableRead, render};
use tokio_postgres::Error;
use tokio_postgres::types::Type;

use super::dialect::Postgres;
use super::session::Session;
use super::wire::{self, Encoded};

/// The most connections one read uses.
const PARTS_MAX: usize = 4;
/// A table with fewer rows, as estimated, is not asked for its size.
const ROWS_MIN: u64 = 50_000;
/// A table of fewer blocks (32 MiB) is read in one piece.
const BLOCKS_MIN: u32 = 4_096;
/// Fewer groups, as the server expects, are made in one piece: each range would send them again, and where they are few the
/// server has workers of its own make them.
const GROUPS_MIN: u64 = 20_000;
/// The blocks of one range. A range in flight is what a connection still has to send before it can be given back.
const RANGE_BLOCKS: std::ops::RangeInclusive<u32> = 512..=4_096;
/// The ranges that a table is cut into, within those bounds, so that connections end at about the same time.
const RANGES: u32 = 16;
/// No block has this number (`InvalidBlockNumber`); every block has a smaller one.
const NO_BLOCK: u32 = u32::MAX;

/// How many blocks a table has, where ranges of them are read as such: an ordinary table without heirs, all of its
/// columns readable (the grant that `ctid` needs), in the server's own storage, since version 14.
const BLOCKS: &str = "\
SELECT pg_relation_size(c.oid) / current_setting('block_size')::int8 \
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_am m ON m.oid = c.relam \
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r' AND NOT c.relhassubclass AND m.amname = 'heap' \
  AND has_table_privilege(c.oid, 'SELECT') AND current_setting('server_version_num')::int4 >= 140000";

/// The blocks from one number up to, not including, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    from: u32,
    to: u32,
}

impl Blocks {
    /// The bounds, as the statement that [`ranged`] gives takes them.
    pub fn parameters(self) -> [Encoded; 2] {
        [self.from, self.to].map(|block| {
            // A block and the row's place in it (`tidrecv`).
            let mut tid = Vec::with_capacity(6);
            tid.put_u32(block);
            tid.put_u16(0);
            Encoded::from(tid)
        })
    }
}

/// The most connections one read uses on this machine.
pub fn parts_max() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(PARTS_MAX)
}

/// The ranges that `query` is read in; `None` where one statement reads it as well or better.
pub async fn split(
    query: &RemoteQuery,
    rendered: &RenderedQuery,
    session: &mut Session,
) -> Result<Option<Vec<Blocks>>, Error> {
    let Some(table) = scanned(query).filter(|_| parts_max() > 1) else {
        return Ok(None);
    };
    if has_choice(query) && !reads_every_block(query, rendered, session).await? {
        return Ok(None);
    }
    let statement = session.prepare(BLOCKS, &[Type::TEXT, Type::TEXT]).await?;
    let found = session
        .client
        .query_opt(&statement, &[&table.namespace, &table.name])
        .await?;
    let blocks = match found {
        Some(row) => row.try_get::<_, i64>(0)?,
        None => 0,
    };
    let blocks = u32::try_from(blocks).unwrap_or(NO_BLOCK);
    // Groups come once for each range, so there are as few as keep the connections busy.
    let ranges = if query.in_parts {
        u32::try_from(parts_max()).unwrap_or(RANGES)
    } else {
        RANGES
    };
    Ok((blocks >= BLOCKS_MIN).then(|| cut(blocks, ranges)))
}

/// Whether `split` would ask the server.
pub fn may_split(query: &RemoteQuery) -> bool {
    parts_max() > 1 && scanned(query).is_some()
}

/// What `query` reads of one table, in groups that may come in parts or row by row.
fn read(query: &RemoteQuery) -> Option<TableRead<'_>> {
    query.grouped_read().or_else(|| query.table_read())
}

/// The table, if `query` is a scan of one large table, filtered or not, and nothing else but groups that may come in parts.
/// A filter by equality is taken for a look-up without asking the server.
fn scanned(query: &RemoteQuery) -> Option<&RemoteTable> {
    let read = read(query)?;
    let is_large = read.table.rows_estimate.is_some_and(|rows| rows >= ROWS_MIN);
    let is_whole = read.rows.is_none() && !read.predicates.iter().any(|predicate| looks_up(predicate));
    (is_large && is_whole && !read.table.is_view).then_some(read.table.as_ref())
}

/// Whether the server may have a better way than from end to end.
fn has_choice(query: &RemoteQuery) -> bool {
    query.in_parts || read(query).is_some_and(|read| !read.predicates.is_empty())
}

fn looks_up(predicate: &Expr) -> bool {
    match predicate {
        Expr::And(parts) => parts.iter().any(looks_up),
        Expr::Or(parts) => parts.iter().all(looks_up),
        Expr::Compare { op, .. } => *op == Comparison::Equal,
        Expr::InList { .. } | Expr::InKeys { .. } => true,
        _ => false,
    }
}

/// Whether the server would read the table from end to end in one process: not by an index, which the ranges would
/// keep it from, and not with workers of its own.
async fn reads_every_block(
    query: &RemoteQuery,
    rendered: &RenderedQuery,
    session: &mut Session,
) -> Result<bool, Error> {
    let types: Vec<Type> = rendered.parameters.iter().map(wire::parameter_type).collect();
    let parameters: Option<Vec<Encoded>> = rendered.parameters.iter().map(wire::encode).collect();
    let Some(parameters) = parameters else {
        return Ok(false);
    };
    let sql = format!("EXPLAIN (FORMAT JSON) {}", rendered.sql);
    let statement = session.prepare(&sql, &types).await?;
    let parameters: Vec<&(dyn postgres_types::ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
    let row = session.client.query_one(&statement, &parameters).await?;
    let plan: wire::Raw<'_> = row.try_get(0)?;
    let plan: serde_json::Value = serde_json::from_slice(plan.0).unwrap_or_default();
    let groups = plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_u64);
    if query.in_parts && groups.is_none_or(|groups| groups < GROUPS_MIN) {
        return Ok(false);
    }
    let scan = if query.in_parts {
        "/0/Plan/Plans/0/Node Type"
    } else {
        "/0/Plan/Node Type"
    };
    Ok(plan.pointer(scan).and_then(serde_json::Value::as_str) == Some("Seq Scan"))
}

/// The statement of `query` for one range, its bounds two more parameters after those `query` has.
pub fn ranged(query: &RemoteQuery, rendered: &RenderedQuery) -> String {
    let dialect = Postgres {
        range_after: Some(rendered.parameters.len()),
    };
    render(query, &dialect).sql
}

/// About `count` ranges of a table of about `blocks` blocks. The last one has no end.
fn cut(blocks: u32, count: u32) -> Vec<Blocks> {
    let step = if count == RANGES {
        (blocks / RANGES).clamp(*RANGE_BLOCKS.start(), *RANGE_BLOCKS.end())
    } else {
        blocks.div_ceil(count).max(1)
    };
    let mut from = 0;
    let mut ranges = Vec::new();
    while blocks - from > step {
        ranges.push(Blocks { from, to: from + step });
        from += step;
    }
    ranges.push(Blocks { from, to: NO_BLOCK });
    ranges
}

#[cfg(test)]
mod tests {
    //! Every block in one range, and which filters look up.

    use super::*;

    fn check(blocks: u32, expected: usize) {
        let ranges = cut(blocks, RANGES);
        assert_eq!(ranges.len(), expected, "{blocks} blocks");
        assert_eq!(ranges.first().map(|range| range.from), Some(0));
        assert_eq!(ranges.last().map(|range| range.to), Some(u32::MAX));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].to, pair[1].from, "{blocks} blocks");
            assert!(pair[0].from < pair[0].to, "{blocks} blocks");
        }
    }

    #[test]
    fn ranges_cover_every_block_once() {
        check(0, 1);
        check(512, 1);
        check(513, 2);
        check(BLOCKS_MIN, 8);
        check(65_536, 16);
        check(65_537, 17);
        check(u32::MAX, 1_048_576);
    }

    #[test]
    fn a_bound_is_a_block_and_no_row() {
        let blocks = Blocks { from: 1, to: NO_BLOCK };
        assert_eq!(
            blocks.parameters().map(|bound| bound.as_bytes().to_vec()),
            [vec![0, 0, 0, 1, 0, 0], vec![255, 255, 255, 255, 0, 0]]
        );
    }

    #[test]
    fn equality_looks_up() {
        let compare = |op| Expr::Compare {
            op,
            left: Box::new(Expr::Column(0)),
            right: Box::new(Expr::Column(1)),
        };
        let (equal, less) = (compare(Comparison::Equal), compare(Comparison::Less));
        assert!(looks_up(&equal));
        assert!(!looks_up(&less));
        assert!(looks_up(&Expr::And(vec![less.clone(), equal.clone()])));
        assert!(!looks_up(&Expr::Or(vec![less.clone(), equal.clone()])));
        assert!(looks_up(&Expr::Or(vec![equal.clone(), equal.clone()])));
        assert!(!looks_up(&Expr::Not(Box::new(equal))));
        assert!(!looks_up(&Expr::IsNull(Box::new(less))));
    }
}
