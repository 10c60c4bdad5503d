//! How deep, how long and how ambiguous a statement's tree will be, told from its tokens.
//!
//! Owns: the caps on nesting, chains, joins and set operations, and the estimate of parsing and planning work.
//! Never: an error's place (`bound_text` knows it), or a judgement about what the statement means.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Brackets, CASEs and subqueries inside each other.
pub(crate) const NESTING: usize = 50;
/// Operators of one precedence in a row.
pub(crate) const CHAIN: usize = 1_000;
/// Operators above each other on the longest path through the tree.
const DEPTH: usize = 1_200;
/// Joins in one FROM, and in the whole statement.
pub(crate) const JOINS: usize = 64;
const JOINS_IN_ALL: usize = 256;
/// UNION, EXCEPT and INTERSECT in the whole statement.
pub(crate) const SET_OPERATIONS: usize = 256;
/// Element types inside each other, as in `ARRAY<ARRAY<INT>>`.
const TYPE_PARAMETERS: usize = 50;
/// Tokens, each as often as it is read: the parser reads `FROM ((SELECT` twice at each level.
const PARSE_WORK: u64 = 1_000_000;
/// Operators of an expression times its tokens: planners visit every node below each node.
const PLAN_WORK: u64 = 7_000_000;

/// The bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Nesting,
    Chain,
    Depth,
    Joins,
    SetOperations,
    Types,
    Work,
}

impl Exceeded {
    /// One sentence, lower case.
    pub(crate) fn message(self) -> String {
        match self {
            Self::Nesting => format!("the statement is nested more than {NESTING} deep"),
            Self::Chain => format!("more than {CHAIN} operators in a row"),
            Self::Depth => format!("an expression is more than {DEPTH} operators deep"),
            Self::Joins => format!("more than {JOINS} joins in one FROM, or {JOINS_IN_ALL} in the statement"),
            Self::SetOperations => format!("more than {SET_OPERATIONS} set operations"),
            Self::Types => format!("more than {TYPE_PARAMETERS} nested types"),
            Self::Work => "the statement would take too long to read".to_owned(),
        }
    }

    /// What to do instead.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Chain | Self::Depth | Self::Work => {
                "write `x IN (…)` for many values, or split the statement into several"
            }
            Self::Nesting | Self::Types => "name parts of the query with WITH, side by side",
            Self::Joins | Self::SetOperations => "split the statement into several",
        }
    }
}

/// Classes of precedence, loosest first: OR, AND, comparisons, sums, products, casts and field access.
const CLASSES: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Round,
    Case,
}

/// One level of nesting, and the element (between commas or clauses) being read in it.
struct Level {
    bracket: Bracket,
    /// Whether a table is expected here: between FROM and the next clause.
    in_from: bool,
    joins: usize,
    set_operations: usize,
    /// How often the parser reads this level.
    reads: u64,
    run: [usize; CLASSES],
    longest: [usize; CLASSES],
    element_depth: usize,
    element_tokens: u64,
    depth: usize,
    tokens: u64,
}

impl Level {
    fn new(bracket: Bracket, in_from: bool, reads: u64) -> Self {
        Self {
            bracket,
            in_from,
            joins: 0,
            set_operations: 0,
            reads,
            run: [0; CLASSES],
            longest: [0; CLASSES],
            element_depth: 0,
            element_tokens: 0,
            depth: 0,
            tokens: 0,
        }
    }

    fn operators(&self) -> usize {
        self.longest.iter().sum()
    }
}

/// The measure of a statement, fed with its tokens one by one.
pub(crate) struct Nesting<'a> {
    tokens: &'a [TokenWithSpan],
    level: Level,
    outer: Vec<Level>,
    joins: usize,
    set_operations: usize,
    type_parameters: usize,
    parse_work: u64,
    plan_work: u64,
}

impl<'a> Nesting<'a> {
    /// Over tokens without whitespace.
    pub(crate) fn new(tokens: &'a [TokenWithSpan]) -> Self {
        Self {
            tokens,
            level: Level::new(Bracket::Round, false, 1),
            outer: Vec::new(),
            joins: 0,
            set_operations: 0,
            type_parameters: 0,
            parse_work: 0,
            plan_work: 0,
        }
    }

    /// Takes the token at `index`.
    pub(crate) fn token(&mut self, index: usize) -> Result<(), Exceeded> {
        let Some(token) = self.tokens.get(index).map(|token| &token.token) else {
            return Ok(());
        };
        self.count_token()?;
        match token {
            Token::LParen => self.open_parenthesis(index)?,
            Token::LBracket => {
                self.operator(5)?;
                self.open(Level::new(Bracket::Round, false, self.level.reads))?;
            }
            Token::LBrace => self.open(Level::new(Bracket::Round, false, self.level.reads))?,
            Token::RParen | Token::RBracket | Token::RBrace => self.close_bracket()?,
            Token::Comma => {
                if self.level.in_from {
                    self.join()?;
                }
                self.end_element()?;
            }
            Token::SemiColon => self.end_element()?,
            Token::Word(word) if word.quote_style.is_none() => self.keyword(word.keyword, index)?,
            other => {
                if matches!(other, Token::Lt) && self.is_type_constructor(index) {
                    self.type_parameters += 1;
                    if self.type_parameters > TYPE_PARAMETERS {
                        return Err(Exceeded::Types);
                    }
                }
                if let Some(class) = operator_class(other) {
                    self.operator(class)?;
                }
            }
        }
        Ok(())
    }

    /// Ends every level that is still open.
    pub(crate) fn finish(mut self) -> Result<(), Exceeded> {
        while !self.outer.is_empty() {
            self.close()?;
        }
        self.end_element()?;
        if self.level.depth > DEPTH {
            Err(Exceeded::Depth)
        } else {
            Ok(())
        }
    }

    fn keyword(&mut self, keyword: Keyword, index: usize) -> Result<(), Exceeded> {
        match keyword {
            Keyword::OR | Keyword::XOR => self.operator(0),
            Keyword::AND => self.operator(1),
            Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::NOTNULL
            | Keyword::OVERLAPS => self.operator(2),
            Keyword::COLLATE | Keyword::AT => self.operator(5),
            Keyword::CASE if !self.follows_period(index) => {
                self.open(Level::new(Bracket::Case, false, self.level.reads))
            }
            Keyword::END if self.level.bracket == Bracket::Case && !self.follows_period(index) => self.close(),
            Keyword::FROM => self.clause(true),
            Keyword::JOIN | Keyword::APPLY => {
                self.clause(true)?;
                self.join()
            }
            Keyword::UNION | Keyword::INTERSECT | Keyword::MINUS => self.set_operation(),
            Keyword::EXCEPT if !self.follows_star(index) => self.set_operation(),
            Keyword::SELECT
            | Keyword::ON
            | Keyword::USING
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::QUALIFY
            | Keyword::WINDOW
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::VALUES => self.clause(false),
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE => self.end_element(),
            _ => Ok(()),
        }
    }

    fn count_token(&mut self) -> Result<(), Exceeded> {
        let level = &mut self.level;
        level.element_tokens += 1;
        level.tokens += 1;
        let reads = level.reads;
        self.parse_work = self.parse_work.saturating_add(reads);
        if self.parse_work > PARSE_WORK {
            Err(Exceeded::Work)
        } else {
            Ok(())
        }
    }

    /// An operator ends the runs of those that bind tighter.
    fn operator(&mut self, class: usize) -> Result<(), Exceeded> {
        let level = &mut self.level;
        for (at, run) in level.run.iter_mut().enumerate().skip(class) {
            *run = if at == class { *run + 1 } else { 0 };
        }
        let mut chain = 0;
        for (longest, run) in level.longest.iter_mut().zip(level.run) {
            *longest = run.max(*longest);
            chain = chain.max(*longest);
        }
        if chain > CHAIN { Err(Exceeded::Chain) } else { Ok(()) }
    }

    fn clause(&mut self, in_from: bool) -> Result<(), Exceeded> {
        self.end_element()?;
        self.level.in_from = in_from;
        Ok(())
    }

    fn join(&mut self) -> Result<(), Exceeded> {
        self.joins += 1;
        let level = &mut self.level;
        level.joins += 1;
        if level.joins > JOINS || self.joins > JOINS_IN_ALL {
            Err(Exceeded::Joins)
        } else {
            Ok(())
        }
    }

    fn set_operation(&mut self) -> Result<(), Exceeded> {
        self.clause(false)?;
        self.set_operations += 1;
        let level = &mut self.level;
        level.set_operations += 1;
        level.joins = 0;
        if self.set_operations > SET_OPERATIONS {
            Err(Exceeded::SetOperations)
        } else {
            Ok(())
        }
    }

    fn end_element(&mut self) -> Result<(), Exceeded> {
        let level = &mut self.level;
        let operators = level.operators();
        let depth = operators + level.element_depth;
        level.depth = level.depth.max(depth);
        let work = (operators as u64).saturating_mul(level.element_tokens);
        level.run = [0; CLASSES];
        level.longest = [0; CLASSES];
        level.element_depth = 0;
        level.element_tokens = 0;
        self.plan_work = self.plan_work.saturating_add(work);
        if depth > DEPTH {
            Err(Exceeded::Depth)
        } else if self.plan_work > PLAN_WORK {
            Err(Exceeded::Work)
        } else {
            Ok(())
        }
    }

    fn open(&mut self, level: Level) -> Result<(), Exceeded> {
        if self.outer.len() >= NESTING {
            return Err(Exceeded::Nesting);
        }
        self.outer.push(std::mem::replace(&mut self.level, level));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Exceeded> {
        self.end_element()?;
        if let Some(outer) = self.outer.pop() {
            let closed = std::mem::replace(&mut self.level, outer);
            let parent = &mut self.level;
            parent.element_depth = parent.element_depth.max(closed.depth + closed.set_operations + 1);
            parent.element_tokens += closed.tokens;
            parent.tokens += closed.tokens;
        }
        Ok(())
    }

    /// Closes the bracket, and the CASEs in it that lack an END: the parser will tell about those.
    fn close_bracket(&mut self) -> Result<(), Exceeded> {
        while !self.outer.is_empty() && self.level.bracket == Bracket::Case {
            self.close()?;
        }
        self.close()
    }

    /// In FROM, brackets hold a query or a join, and the parser tries the one, then the other: a query behind a row of
    /// `n` brackets is read up to `n` times.
    fn open_parenthesis(&mut self, index: usize) -> Result<(), Exceeded> {
        let in_from = self.level.in_from && self.expects_table(index);
        let mut reads = self.level.reads;
        if in_from && !matches!(self.before(index), Some(Token::LParen)) {
            let row = self
                .tokens
                .iter()
                .skip(index)
                .take_while(|token| token.token == Token::LParen)
                .count();
            let behind = self.tokens.get(index + row).map(|token| &token.token);
            let is_query = matches!(behind, Some(Token::Word(word))
                if matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES));
            if is_query {
                reads = reads.saturating_mul(row as u64);
            }
        }
        self.open(Level::new(Bracket::Round, in_from, reads))
    }

    fn expects_table(&self, index: usize) -> bool {
        match self.before(index) {
            Some(Token::LParen | Token::Comma) => true,
            Some(Token::Word(word)) => {
                matches!(
                    word.keyword,
                    Keyword::FROM | Keyword::JOIN | Keyword::APPLY | Keyword::LATERAL
                )
            }
            _ => false,
        }
    }

    fn before(&self, index: usize) -> Option<&Token> {
        self.tokens.get(index.checked_sub(1)?).map(|token| &token.token)
    }

    fn follows_period(&self, index: usize) -> bool {
        matches!(self.before(index), Some(Token::Period))
    }

    fn follows_star(&self, index: usize) -> bool {
        matches!(self.before(index), Some(Token::Mul))
    }

    fn is_type_constructor(&self, index: usize) -> bool {
        matches!(self.before(index), Some(Token::Word(word))
            if matches!(word.keyword, Keyword::ARRAY | Keyword::STRUCT | Keyword::MAP))
    }
}

fn operator_class(token: &Token) -> Option<usize> {
    match token {
        Token::Eq
        | Token::DoubleEq
        | Token::Neq
        | Token::Lt
        | Token::Gt
        | Token::LtEq
        | Token::GtEq
        | Token::Spaceship => Some(2),
        Token::Mul | Token::Div | Token::Mod => Some(4),
        Token::DoubleColon | Token::Period | Token::Colon => Some(5),
        Token::EOF
        | Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Char(_) => None,
        _ => Some(3),
    }
}
