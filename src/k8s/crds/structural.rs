//! From a JSON Schema of our types to the structural schema that the API server wants: a tree without references, with one type
//! at each place, and with words that read well in `kubectl explain`.

use serde_json::{Map, Value};

/// What JSON Schema says and a structural schema does not, or says in another way.
const DROPPED: [&str; 4] = ["title", "$schema", "nullable", "deprecated"];
/// The formats that say something about a value here. Others (`uint16`) are told by bounds.
const FORMATS: [&str; 2] = ["date-time", "int64"];

/// The structural schema of `schema`, in which nothing is referred to.
pub(super) fn structural(schema: Value) -> Value {
    let Value::Object(schema) = schema else { return schema };
    Value::Object(object(schema))
}

fn object(schema: Map<String, Value>) -> Map<String, Value> {
    let mut schema = one_type(schema);
    for keyword in DROPPED {
        schema.remove(keyword);
    }
    choices(&mut schema);
    if schema.get("additionalProperties").is_some_and(Value::is_boolean) {
        // Unknown members are pruned, or refused where the client wants that (`kubectl` does).
        schema.remove("additionalProperties");
    }
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format)) {
        schema.remove("format");
    }
    let says_nothing = |default: &Value| match default {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    if schema.get("default").is_some_and(says_nothing) {
        schema.remove("default");
    }
    if let Some(Value::String(words)) = schema.get_mut("description") {
        *words = plain(words);
    }
    schema
        .into_iter()
        .map(|(keyword, value)| {
            let value = match (keyword.as_str(), value) {
                ("properties", Value::Object(members)) => {
                    Value::Object(members.into_iter().map(|(name, it)| (name, structural(it))).collect())
                }
                ("items" | "additionalProperties", below) => structural(below),
                (_, other) => other,
            };
            (keyword, value)
        })
        .collect()
}

/// Takes `null` out: a member that may be left out has no need for it, and the API server drops it before anybody looks.
fn one_type(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    let Some(Value::Array(mut options)) = schema.remove("anyOf") else { return schema };
    options.retain(|it| it.get("type").is_none_or(|it| it != "null"));
    if let [Value::Object(only)] = options.as_slice() {
        // What is said at this place counts for more than what is said of the type.
        let mut merged = only.clone();
        merged.extend(schema);
        return merged;
    }
    // Left for the tests and the API server to refuse.
    schema.insert("anyOf".to_owned(), Value::Array(options));
    schema
}

/// An enum: the words that may stand there, and what each means at the end of the description.
fn choices(schema: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = schema.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut meanings = String::new();
    for option in options {
        let named = match (option.get("const"), option.get("enum")) {
            (Some(word), _) => vec![word.clone()],
            (None, Some(Value::Array(words))) => words.clone(),
            _ => return,
        };
        if let (Some(meaning), [Value::String(word)]) =
            (option.get("description").and_then(Value::as_str), named.as_slice())
        {
            meanings += &format!(" `{word}`: {meaning}");
        }
        words.extend(named);
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), Value::Array(words));
    if let Some(Value::String(description)) = schema.get_mut("description") {
        description.push_str(&meanings);
    }
}

/// A doc comment as one paragraph a line, as `kubectl explain` folds them.
fn plain(words: &str) -> String {
    let paragraphs = words.split("\n\n").map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
