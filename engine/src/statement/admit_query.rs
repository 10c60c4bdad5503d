//! Step 4: every clause of a query is one that Caliber knows and runs.
//!
//! Owns: the allow-list over the syntax tree. Every field of a node is named here, so that a clause which a newer parser
//! learns is a compile error, not a silent pass. Never: decides about tables, columns or functions by name.

use std::ops::ControlFlow;

use caliber_catalog::diagnostic::Code;
use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, Function, FunctionArguments, GroupByExpr, Ident, JoinOperator, LimitClause, ObjectName,
    ObjectNamePart, OrderBy, OrderByKind, Query, Select, SelectFlavor, SetExpr, SetOperator, Spanned, Statement,
    TableAlias, TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, With,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::dated_view::is_dated_view;
use super::query_text::{QueryText, with_help};
use crate::EngineError;

/// CTEs in one WITH, at most.
const CTES: usize = 64;
/// Columns and expressions in one select list as it is written, at most.
const SELECTED: usize = 4_096;
/// Window functions in a statement, at most: each may sort all rows anew.
const WINDOWS: usize = 256;

/// Refuses every clause that is not allowed (SQL002), and writes `FETCH FIRST n ROWS ONLY` as `LIMIT n`.
pub(crate) fn admit_query(text: &QueryText, query: &mut Query) -> Result<(), EngineError> {
    let mut admission = Admission { text, windows: 0 };
    match Visit::visit(query, &mut admission) {
        ControlFlow::Break(refusal) => Err(*refusal),
        ControlFlow::Continue(()) => {
            let _: ControlFlow<()> = VisitMut::visit(query, &mut FetchAsLimit);
            Ok(())
        }
    }
}

type Flow = ControlFlow<Box<EngineError>>;

struct Admission<'a> {
    text: &'a QueryText,
    windows: usize,
}

impl Admission<'_> {
    fn refuse(&self, span: Span, what: &str, help: &str) -> Flow {
        let error = self.text.error(Code::SQL002, span, format!("{what} is not allowed"));
        ControlFlow::Break(Box::new(if help.is_empty() { error } else { with_help(error, help) }))
    }

    /// Refuses if there are more of something than may be.
    fn at_most(&self, found: usize, most: usize, span: Span, what: &str) -> Flow {
        if found > most {
            let message = format!("more than {most} {what}");
            return ControlFlow::Break(Box::new(self.text.error(Code::LIM001, span, message)));
        }
        ControlFlow::Continue(())
    }

    /// Refuses if `present`.
    fn never(&self, present: bool, span: Span, what: &str) -> Flow {
        if present {
            self.refuse(span, what, "")
        } else {
            ControlFlow::Continue(())
        }
    }

    fn with(&self, with: &With) -> Flow {
        let With {
            with_token,
            recursive,
            cte_tables,
        } = with;
        let span = with_token.0.span;
        if *recursive {
            // Recursion may have no end; a statement's size is bounded before it is planned, and so this is a bound too.
            let error = self.text.error(
                Code::LIM001,
                span,
                "WITH RECURSIVE has no bound, so it is not run".to_owned(),
            );
            return ControlFlow::Break(Box::new(with_help(
                error,
                "hierarchies are walked by joining a fixed number of times",
            )));
        }
        self.at_most(cte_tables.len(), CTES, span, "queries in one WITH")?;
        for cte in cte_tables {
            self.never(cte.from.is_some(), cte.alias.name.span, "FROM behind a CTE")?;
            self.alias(Some(&cte.alias))?;
        }
        ControlFlow::Continue(())
    }

    fn body(&self, body: &SetExpr) -> Flow {
        match body {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
            SetExpr::SetOperation {
                left,
                right,
                op,
                set_quantifier: _,
            } => {
                self.never(*op == SetOperator::Minus, left.span(), "MINUS")?;
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Insert(_) => self.refuse(body.span(), "INSERT in a query", ""),
            SetExpr::Update(_) => self.refuse(body.span(), "UPDATE in a query", ""),
            SetExpr::Delete(_) => self.refuse(body.span(), "DELETE in a query", ""),
            SetExpr::Merge(_) => self.refuse(body.span(), "MERGE in a query", ""),
            SetExpr::Table(_) => self.refuse(body.span(), "TABLE", "write SELECT * FROM table"),
        }
    }

    fn order_by(&self, order_by: Option<&OrderBy>) -> Flow {
        let Some(OrderBy { kind, interpolate }) = order_by else {
            return ControlFlow::Continue(());
        };
        self.never(interpolate.is_some(), Span::empty(), "INTERPOLATE")?;
        if let OrderByKind::Expressions(expressions) = kind {
            for expression in expressions {
                self.never(expression.with_fill.is_some(), expression.span(), "WITH FILL")?;
            }
        }
        ControlFlow::Continue(())
    }

    fn fetch(&self, fetch: Option<&Fetch>, limit: Option<&LimitClause>) -> Flow {
        let Some(Fetch {
            with_ties,
            percent,
            quantity,
        }) = fetch
        else {
            return ControlFlow::Continue(());
        };
        self.never(*with_ties, Span::empty(), "FETCH … WITH TIES")?;
        self.never(*percent, Span::empty(), "FETCH … PERCENT")?;
        let limited = matches!(
            limit,
            Some(LimitClause::LimitOffset { limit: Some(_), .. } | LimitClause::OffsetCommaLimit { .. })
        );
        self.never(
            limited || quantity.is_none(),
            Span::empty(),
            "FETCH beside LIMIT or without a number",
        )
    }

    fn alias(&self, alias: Option<&TableAlias>) -> Flow {
        let Some(TableAlias {
            explicit: _,
            name,
            columns,
            at,
        }) = alias
        else {
            return ControlFlow::Continue(());
        };
        self.never(at.is_some(), name.span, "AT behind an alias")?;
        self.identifier(name)?;
        for column in columns {
            self.never(
                column.data_type.is_some(),
                column.name.span,
                "a type behind a column alias",
            )?;
        }
        ControlFlow::Continue(())
    }

    /// sqlparser reads `FROM 'a.csv'` as a name in single quotes.
    fn identifier(&self, identifier: &Ident) -> Flow {
        if identifier.quote_style == Some('\'') {
            return self.refuse(
                identifier.span,
                "a name in single quotes",
                "names take double quotes, text single ones",
            );
        }
        ControlFlow::Continue(())
    }

    fn table_name(&self, name: &ObjectName) -> Flow {
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(identifier) if identifier.quote_style == Some('\'') => {
                    let help = "files are read through a source of kind `files`; SHOW TABLES lists what there is";
                    return self.refuse(identifier.span, "a file or text as a table", help);
                }
                ObjectNamePart::Identifier(_) => {}
                ObjectNamePart::Function(_) => return self.refuse(name.span(), "a computed table name", ""),
            }
        }
        ControlFlow::Continue(())
    }

    fn joins(&self, select: &Select) -> Flow {
        for join in select.from.iter().flat_map(|table| &table.joins) {
            let span = join.relation.span();
            self.never(join.global, span, "GLOBAL JOIN")?;
            match &join.join_operator {
                JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
                | JoinOperator::CrossJoin(_)
                | JoinOperator::LeftSemi(_)
                | JoinOperator::RightSemi(_)
                | JoinOperator::LeftAnti(_)
                | JoinOperator::RightAnti(_) => {}
                JoinOperator::Semi(_)
                | JoinOperator::Anti(_)
                | JoinOperator::CrossApply
                | JoinOperator::OuterApply
                | JoinOperator::AsOf { .. }
                | JoinOperator::StraightJoin(_)
                | JoinOperator::ArrayJoin
                | JoinOperator::LeftArrayJoin
                | JoinOperator::InnerArrayJoin => return self.refuse(span, "this kind of join", ""),
            }
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Admission<'_> {
    type Break = Box<EngineError>;

    fn pre_visit_statement(&mut self, statement: &Statement) -> Flow {
        self.refuse(statement.span(), "a statement inside a query", "")
    }

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if let Some(with) = with {
            self.with(with)?;
        }
        self.body(body)?;
        self.order_by(order_by.as_ref())?;
        self.fetch(fetch.as_ref(), limit_clause.as_ref())?;
        if let Some(LimitClause::LimitOffset { limit_by, .. }) = limit_clause {
            self.never(!limit_by.is_empty(), Span::empty(), "LIMIT BY")?;
        }
        self.never(!locks.is_empty(), Span::empty(), "FOR UPDATE and FOR SHARE")?;
        self.never(for_clause.is_some(), Span::empty(), "FOR XML, FOR JSON and FOR BROWSE")?;
        self.never(settings.is_some(), Span::empty(), "SETTINGS")?;
        self.never(format_clause.is_some(), Span::empty(), "FORMAT")?;
        self.never(!pipe_operators.is_empty(), Span::empty(), "|>")
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        let Select {
            select_token,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let span = select_token.0.span;
        self.at_most(projection.len(), SELECTED, span, "columns in one SELECT")?;
        if top.is_some() {
            return self.refuse(span, "SELECT TOP", "write LIMIT at the end of the query");
        }
        if into.is_some() {
            return self.refuse(span, "SELECT INTO", "Caliber answers queries and changes nothing");
        }
        let modifiers = match group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
        };
        self.never(!modifiers.is_empty(), span, "WITH behind GROUP BY")?;
        self.never(!optimizer_hints.is_empty(), span, "an optimizer hint")?;
        self.never(select_modifiers.is_some(), span, "a modifier of SELECT")?;
        self.never(exclude.is_some(), span, "EXCLUDE at the end of a select list")?;
        self.never(!lateral_views.is_empty(), span, "LATERAL VIEW")?;
        self.never(prewhere.is_some(), span, "PREWHERE")?;
        self.never(!connect_by.is_empty(), span, "CONNECT BY")?;
        self.never(!cluster_by.is_empty(), span, "CLUSTER BY")?;
        self.never(!distribute_by.is_empty(), span, "DISTRIBUTE BY")?;
        self.never(!sort_by.is_empty(), span, "SORT BY")?;
        self.never(value_table_mode.is_some(), span, "SELECT AS")?;
        self.never(*flavor != SelectFlavor::Standard, span, "FROM before SELECT")?;
        self.joins(select)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        let span = factor.span();
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.table_name(name)?;
                self.alias(alias.as_ref())?;
                if args.as_ref().is_some_and(|args| !is_dated_view(name, args)) {
                    let help = "`unnest` may stand in FROM, and a view of an entity as of a date: `customer_360(DATE '2025-12-31')`";
                    return self.refuse(span, &format!("table function `{name}`"), help);
                }
                self.never(
                    !with_hints.is_empty() || !index_hints.is_empty(),
                    span,
                    "a hint behind a table",
                )?;
                self.never(version.is_some(), span, "a version behind a table")?;
                self.never(*with_ordinality, span, "WITH ORDINALITY")?;
                self.never(!partitions.is_empty(), span, "PARTITION behind a table")?;
                self.never(json_path.is_some(), span, "a path behind a table")?;
                self.never(sample.is_some(), span, "TABLESAMPLE")
            }
            TableFactor::Derived {
                lateral,
                subquery: _,
                alias,
                sample,
            } => {
                self.never(*lateral, span, "LATERAL")?;
                self.never(sample.is_some(), span, "TABLESAMPLE")?;
                self.alias(alias.as_ref())
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.never(
                    table_with_joins.joins.iter().any(|join| join.global),
                    span,
                    "GLOBAL JOIN",
                )?;
                self.alias(alias.as_ref())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs: _,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                let numbered = *with_offset || with_offset_alias.is_some() || *with_ordinality;
                self.never(numbered, span, "WITH OFFSET and WITH ORDINALITY")?;
                self.alias(alias.as_ref())
            }
            TableFactor::Function { name, .. } => self.refuse(span, &format!("table function `{name}`"), ""),
            _ => self.refuse(
                span,
                "this kind of table",
                "tables, queries in brackets and unnest may stand in FROM",
            ),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> Flow {
        if let Expr::Function(function) = expression {
            let Function {
                name,
                uses_odbc_syntax: _,
                parameters,
                args: _,
                over,
                ..
            } = function;
            self.windows += usize::from(over.is_some());
            self.at_most(self.windows, WINDOWS, name.span(), "window functions in a statement")?;
            let plain = matches!(parameters, FunctionArguments::None);
            return self.never(!plain, name.span(), "a second list of arguments");
        }
        ControlFlow::Continue(())
    }

    /// `:name` and `@name` come from the parser, behind the step that numbers parameters.
    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Flow {
        match &value.value {
            Value::Placeholder(name) if !name.starts_with('$') => {
                let error = self
                    .text
                    .error(Code::SQL016, value.span, format!("`{name}` is not a parameter"));
                ControlFlow::Break(Box::new(with_help(error, "write parameters as `?`, or as `$1`, `$2`…")))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// DataFusion does not know the standard's FETCH, which says the same as LIMIT.
struct FetchAsLimit;

impl VisitorMut for FetchAsLimit {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(fetch) = query.fetch.take() {
            let offset = match query.limit_clause.take() {
                Some(LimitClause::LimitOffset { offset, .. }) => offset,
                Some(LimitClause::OffsetCommaLimit { .. }) | None => None,
            };
            query.limit_clause = Some(LimitClause::LimitOffset {
                limit: fetch.quantity,
                offset,
                limit_by: Vec::new(),
            });
        }
        ControlFlow::Continue(())
    }
}
