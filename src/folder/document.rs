//! From a file's text to the objects in it.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::{FileError, Found, origin};
use crate::api::meta::ObjectMeta;
use crate::api::read::ReadError;
use crate::authz::policy::{ObjectHeader, Origin, PolicyInput, Unusable};

const MAX_OBJECTS: usize = 16_384;
const MAX_NESTING: usize = 32;
const MAX_NODES: usize = 100_000;
const MAX_ALIASES: usize = 64;
const MAX_REPLAYED: usize = 10_000;

/// Objects, as file after file is read.
#[derive(Default)]
pub(super) struct Gathering {
    pub(super) found: Found,
    seen: HashMap<(String, String, String), Origin>,
}

/// A document of a file.
struct Document<'a> {
    file: &'a Path,
    /// The line it begins at, from 1.
    line: u64,
    text: &'a str,
}

impl Gathering {
    /// Adds the objects of a file, or what is wrong with it.
    pub(super) fn add_file(&mut self, file: &Path, text: &str, errors: &mut Vec<FileError>) {
        for document in documents(file, text) {
            match document.parse() {
                Ok(None) => {}
                Ok(Some(value)) => {
                    if let Err(error) = self.add(&document, value) {
                        errors.push(error);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
    }

    fn add(&mut self, document: &Document<'_>, value: Value) -> Result<(), FileError> {
        let header = ObjectHeader::of(&value).map_err(|error| document.field_error(&error))?;
        let ObjectHeader { kind, metadata: ObjectMeta { namespace, name, .. }, .. } = &header;
        let origin = origin(document.file, document.first_line());
        let key = (kind.clone(), namespace.clone(), name.clone());
        if let Some(first) = self.seen.get(&key) {
            return Err(document
                .error(format!("{kind} {namespace}/{name} is defined twice, first at {first}: remove or rename one")));
        }
        if self.seen.len() >= MAX_OBJECTS {
            return Err(document.error(format!("more than {MAX_OBJECTS} objects")));
        }
        self.seen.insert(key, origin.clone());
        match PolicyInput::read(&header, value) {
            Ok(object) => self.found.objects.add(origin, object),
            // Nobody knows what to close: the file is at fault.
            Err(Unusable::Field(error)) => return Err(document.field_error(&error)),
            Err(Unusable::Kind(words)) => return Err(document.error(words)),
        }
        Ok(())
    }
}

/// Takes a file apart where documents begin. A `---` at the beginning of a line can be nothing else (YAML 1.2 §9.1.2).
fn documents<'a>(file: &'a Path, text: &'a str) -> Vec<Document<'a>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![Document { file, line: 1, text: "" }];
    let mut start = 0;
    let mut end = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let is_marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_marker && end > 0 {
            documents.last_mut().expect("begins with one").text = &text[start..end];
            documents.push(Document { file, line: i as u64 + 1, text: "" });
            start = end;
        }
        end += line.len();
    }
    documents.last_mut().expect("begins with one").text = &text[start..];
    documents
}

impl Document<'_> {
    /// The document's value; `None` when there is nothing in it but comments.
    fn parse(&self) -> Result<Option<Value>, FileError> {
        let mut alias_limits = serde_saphyr::options::AliasLimits::default();
        alias_limits.max_total_replayed_events = MAX_REPLAYED;
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_NESTING,
                max_nodes: MAX_NODES,
                max_events: 4 * MAX_NODES,
                max_aliases: MAX_ALIASES,
                max_anchors: MAX_ALIASES,
                max_recorded_anchor_events: MAX_REPLAYED,
                max_documents: 1,
            },
            alias_limits: alias_limits,
            strict_booleans: true,
            with_snippet: false,
        };
        match serde_saphyr::from_str_with_options::<Value>(self.text, options) {
            Ok(Value::Null) => Ok(None),
            Ok(value @ Value::Object(_)) => Ok(Some(value)),
            Ok(_) => Err(self.error("an object is expected, with `apiVersion`, `kind`, `metadata` and `spec`")),
            Err(error) => {
                let line = error.location().map(|location| self.line + location.line().saturating_sub(1));
                // Its own words end with a place in the document; ours begin with one in the file.
                let words = error.to_string();
                let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
                Err(FileError { line: line.or(Some(self.first_line())), ..FileError::new(self.file, words) })
            }
        }
    }

    /// The first line that says something.
    fn first_line(&self) -> u64 {
        let says_nothing = |line: &&str| {
            let line = line.strip_prefix("---").unwrap_or(line).trim();
            line.is_empty() || line.starts_with('#')
        };
        self.line + self.text.lines().take_while(says_nothing).count() as u64
    }

    /// What is wrong with a field, at the document's first line: the path says where in it.
    fn field_error(&self, error: &ReadError) -> FileError {
        self.error(error.to_string())
    }

    fn error(&self, words: impl Into<String>) -> FileError {
        FileError { line: Some(self.first_line()), ..FileError::new(self.file, words) }
    }
}
