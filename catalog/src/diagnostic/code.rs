//! The error codes. One code, one page under `docs/errors/`, one test.
//!
//! Owns: the list, and who is at fault. Never: a message.

/// Who must act. Decides the gRPC status, the exit code and whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The project is wrong; the steward must change it.
    Project,
    /// The statement or request is wrong.
    Caller,
    /// What is named does not exist for this principal.
    NotFound,
    /// The caller did not prove who it is.
    Unauthenticated,
    /// Refused: never allowed, whoever asks.
    Refused,
    /// A source is down, slow or wrong; often worth a retry.
    Source,
    /// The catalog changed since the statement was prepared.
    Changed,
    /// A bound was reached.
    Limit,
    /// The deadline passed.
    Deadline,
    /// The caller cancelled.
    Cancelled,
    /// Our bug.
    Internal,
}

macro_rules! codes {
    ($($name:ident $fault:ident $title:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "a code's title says what it is")]
        pub enum Code { $($name,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The text: `SQL012`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// Who must act.
            pub const fn fault(self) -> Fault {
                match self { $(Code::$name => Fault::$fault,)* }
            }

            /// The title of its page.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    // The project's files.
    PRJ001 Project "the project cannot be read";
    PRJ002 Project "not YAML";
    PRJ003 Project "unknown key";
    PRJ004 Project "wrong shape of value";
    PRJ005 Project "missing key";
    PRJ006 Project "name defined twice";
    PRJ007 Project "variable or file not found";
    PRJ008 Project "unknown connector";
    PRJ009 Project "a bound of the project format was reached";
    PRJ010 Project "name that leads nowhere";
    PRJ011 Project "SQL in the project is wrong";
    PRJ012 Project "ambiguous path to an entity";
    PRJ013 Project "mask or column list over an absent column";
    PRJ014 Project "a source could not be described";
    PRJ015 Project "declared key or reference does not hold";
    PRJ016 Project "table closed under an entity's policy";
    PRJ017 Project "not supported by this version";
    PRJ018 Project "a secret written in a project file";
    PRJ019 Project "a policy that gives nothing";
    PRJ020 Project "two masks of one column";
    PRJ021 Project "metric that cannot be computed";
    PRJ022 Project "declaration of an entity that cannot be computed";
    PRJ023 Project "identity that cannot be built";
    // Statements.
    SQL001 Caller "statement cannot be parsed";
    SQL002 Refused "statement not allowed";
    SQL003 Caller "more than one statement";
    SQL010 NotFound "table not found";
    SQL011 NotFound "schema or catalog not found";
    SQL012 Caller "column not found";
    SQL013 Caller "function not found";
    SQL014 Caller "ambiguous column";
    SQL015 Caller "statement cannot be planned";
    SQL016 Caller "parameters do not fit the statement";
    SQL020 Caller "a value cannot be converted";
    SQL021 Caller "division by zero";
    SQL022 Caller "number out of range";
    SQL023 Caller "evaluation failed";
    // Metrics.
    MET001 Caller "MEASURE where it means nothing";
    MET002 Caller "aggregate that disagrees with the metric";
    MET003 Caller "group or filter that a metric cannot reach";
    MET004 Caller "metric column without MEASURE";
    MET005 Caller "time condition that the metric cannot answer";
    MET006 Project "key that several rows share";
    MET007 Caller "difference that has no parts";
    // Policies.
    POL001 Internal "a policy cannot be evaluated";
    POL002 Refused "rows open in groups only";
    // Limits.
    LIM001 Limit "statement too long or too deep";
    LIM002 Limit "out of memory for this query";
    LIM003 Limit "result too large";
    LIM004 Deadline "deadline passed";
    LIM005 Limit "too many statements at once";
    LIM006 Cancelled "cancelled";
    // Sources.
    SRC001 Source "source not available";
    SRC002 Source "source refused the account";
    SRC003 Source "a source's value does not fit its column";
    SRC004 Changed "a source's table changed";
    SRC005 Limit "source busy";
    SRC006 Internal "source refused a statement";
    // Log-in and protocol.
    SRV001 Unauthenticated "not logged in";
    SRV002 Caller "ticket or handle not valid";
    SRV003 Caller "request not supported";
    SRV004 Changed "the statement's schema changed";
    SRV005 Source "audit not available";
    SRV006 Project "the server cannot listen as configured";
    // Ours.
    INT001 Internal "internal error";
}
