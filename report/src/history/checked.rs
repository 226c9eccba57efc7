//! What a check says, and as JSON.

use serde::Serialize;

/// What is told about a trace (docs/check.schema.json).
#[derive(Debug, Serialize)]
pub struct Checked {
    /// `coherent`, `anomalies` or `unknown`.
    pub verdict: &'static str,
    /// In words.
    pub says: String,
    pub anomalies: u64,
    /// Why not all of it could be looked at.
    pub limits: Vec<String>,
    pub files: Vec<OneFile>,
}

#[derive(Debug, Serialize)]
pub struct OneFile {
    pub path: String,
    pub device: u64,
    pub inode: u64,
    /// Blocks of 512 bytes, and how often they were read and written.
    pub blocks: u64,
    pub reads: u64,
    pub writes: u64,
    /// Reads of a part of a call under way.
    pub torn: u64,
    /// Blocks of which it isn't known which write was read.
    pub ambiguous: u64,
    /// Blocks of which something isn't known, because of ...
    pub left_out: LeftOut,
    pub anomalies: Vec<Anomaly>,
}

#[derive(Debug, Default, Serialize)]
pub struct LeftOut {
    pub mappings: u64,
    pub changes: u64,
    pub parts: u64,
    pub lost: u64,
}

/// All of a kind in one file.
#[derive(Debug, Serialize)]
pub struct Anomaly {
    /// `stale`, `back`, `unwritten`, `torn`, `early` or `append`.
    pub kind: &'static str,
    pub says: &'static str,
    /// In so many blocks; of appends, calls.
    pub count: u64,
    /// The bytes of the shortest story.
    pub first: u64,
    pub last: u64,
    pub story: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Seconds since 1970.
    pub time: f64,
    /// Since the story's beginning.
    pub begin_microseconds: f64,
    /// Not there: it never ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_microseconds: Option<f64>,
    pub program: String,
    pub process: u32,
    pub thread: u32,
    /// `read`, `wrote` or `appended`.
    pub did: &'static str,
    pub mode: &'static str,
    /// The call's bytes.
    pub first: u64,
    pub last: u64,
    /// Of the block that the story is about; equal letters are equal bytes.
    pub bytes: String,
}

impl Checked {
    pub fn json(&self) -> String {
        // It holds nothing that can't be said in JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
