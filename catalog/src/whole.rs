//! What a project declares to see an entity whole: tags, segments, a lifecycle, journeys and a timeline.
//!
//! Owns: the model of the five sections, by entity. Never: reads their SQL, which is the engine's.

use crate::diagnostic::Place;
use crate::grant::SqlText;
use crate::name::TableName;
use crate::project::Label;

/// The columns that every `unified.<entity>_360` may have, whatever the project declares.
pub const STAGE: &str = "stage";
/// The list of the segments an instance is in.
pub const SEGMENTS: &str = "segments";
/// The day at whose end a lifecycle's conditions are asked.
pub const AS_OF: &str = "as_of";
/// The day of a row of `unified.<entity>_metrics`, of which a tag is a metric.
pub const METRIC_TIME: &str = "metric_time";
/// The suffix of the column that says what a source knows of an instance: `credit_state`.
pub const STATE_SUFFIX: &str = "_state";

/// All that is declared of one entity, each in the order written.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// `tags.ENTITY`
    pub tags: Vec<Class>,
    /// `segments.ENTITY`
    pub segments: Vec<Class>,
    /// `lifecycles.ENTITY.stages`: the first whose condition holds is the stage.
    pub stages: Vec<Stage>,
    /// `journeys.ENTITY`
    pub journeys: Vec<Journey>,
    /// `timelines.ENTITY`: kinds of events.
    pub timeline: Vec<Event>,
}

impl Whole {
    /// The columns that it adds to `unified.<entity>_360`.
    pub fn columns(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tags.iter().map(|tag| tag.name.clone()).collect();
        names.extend((!self.stages.is_empty()).then(|| STAGE.to_owned()));
        names.extend((!self.segments.is_empty()).then(|| SEGMENTS.to_owned()));
        names
    }
}

/// `tags.ENTITY.NAME` or `segments.ENTITY.NAME`: which instances are in it.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// A condition over attributes, metrics and tags. NULL counts as false.
    pub condition: SqlText,
    /// `label`
    pub label: Label,
    /// `description`
    pub description: Option<String>,
    /// Where its name stands.
    pub place: Place,
}

/// One rule of a lifecycle.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// A condition over attributes, metrics, tags and `as_of`.
    pub condition: SqlText,
    /// Where its name stands.
    pub place: Place,
}

/// `journeys.ENTITY.NAME`
#[derive(Clone, Debug)]
pub struct Journey {
    /// Its name.
    pub name: String,
    /// `label`
    pub label: Label,
    /// `description`
    pub description: Option<String>,
    /// `steps`, in their order; at least one.
    pub steps: Vec<Event>,
    /// Where its name stands.
    pub place: Place,
}

/// A kind of event: rows of a table that say when something happened to an instance.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name: the step, or the kind in a timeline.
    pub name: String,
    /// `label`
    pub label: Label,
    /// `table`
    pub table: TableName,
    /// `time`: the column that says when.
    pub time: String,
    /// `where`: the rows that count.
    pub condition: Option<SqlText>,
    /// `amount`, of a timeline.
    pub amount: Option<SqlText>,
    /// `detail`, of a timeline.
    pub detail: Option<SqlText>,
    /// Where `table`'s value stands.
    pub table_place: Place,
    /// Where `time`'s value stands.
    pub time_place: Place,
    /// Where its name stands.
    pub place: Place,
}
