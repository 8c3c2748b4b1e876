//! `stockroom openapi`: the document a running node serves at `/openapi.json`, without a node.

use super::exit::Failure;
use super::output;
use crate::http;

/// Prints it, indented for people and diffs.
pub(super) fn run() -> Result<(), Failure> {
    output::line(http::openapi().to_pretty_json()?)
}
