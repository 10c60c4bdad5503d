//! The customer seen whole: metrics, tags, stage, segments and each department's state, against SQL written by hand over a
//! local copy of the bank (INV-5).

use anyhow::{Context, Result, ensure};

use crate::metrics::bank_metrics::{Metrics, Rows};

