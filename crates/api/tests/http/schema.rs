//! `openapi.json` is written by hand: these tests hold it to the routes and to what is really answered.

use super::{TOKEN, open};
use serde_json::Value;
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(dauphin_api::OPENAPI).expect("JSON")
}

/// What is wrong with this value under this schema, as far as the document uses JSON schema.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().expect("a name");
        return faults(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| faults(document, choice, value, at).is_empty());
        return if fits { Vec::new() } else { vec![format!("{at}: fits none of the choices")] };
    }
    let mut found = Vec::new();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return found,
    };
    let fits = types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
    if !fits {
        found.push(format!("{at}: {kind} is not {types:?}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        found.push(format!("{at}: {value} is none of {choices:?}"));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(document, &schema["items"], item, &format!("{at}[{i}]")));
    }
    let Some(object) = value.as_object() else { return found };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(required) {
            found.push(format!("{at}: {required} is missing"));
        }
    }
    for (key, item) in object {
        let inner = match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => {
                found.push(format!("{at}: {key} is not described"));
                continue;
            }
            (Value::Null, any) => any,
            (described, _) => described,
        };
        found.extend(faults(document, inner, item, &format!("{at}.{key}")));
    }
    found
}

#[test]
fn every_route_is_described_and_there() {
    let source = include_str!("../../src/server.rs");
    let written = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let checks = dauphin_api::health::Check::PATHS.iter().map(|(path, _)| *path);
    let routes: BTreeSet<&str> = written.chain(checks).collect();
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(described, routes);
}

#[test]
fn every_answer_is_as_described() {
    let agent = open();
    let document = document();
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            // endless
            if path == "/v1/events" {
                continue;
            }
            let body = match path.as_str() {
                "/v1/failover" => r#"{"to":"m2","allow_data_loss":true}"#,
                "/v1/reinit" | "/v1/store/add" | "/v1/store/remove" => r#"{"member":"m2"}"#,
                "/v1/alerts/silence" => r#"{"member":"m2","seconds":60,"because":"a new disk"}"#,
                "/v1/alerts/unsilence" | "/v1/alerts/ack" => r#"{"id":3}"#,
                _ => "",
            };
            let asked = if path == "/v1/what-if" { format!("{path}?kill=m1") } else { path.clone() };
            let (status, text) = agent.send(&method.to_uppercase(), &asked, &token, body);
            let answer = &operation["responses"][status.to_string()];
            assert!(answer.is_object(), "{method} {path}: {status} is not described: {text}");
            let schema = &answer["content"]["application/json"]["schema"];
            if schema.is_object() {
                let value: Value = serde_json::from_str(&text).expect("JSON");
                let schema = if path == "/openapi.json" { &Value::Null } else { schema };
                let found = faults(&document, schema, &value, "");
                assert!(found.is_empty(), "{method} {path}: {found:?}");
            }
        }
    }
    let (_, text) = agent.send("GET", "/nowhere", "", "");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let schema = &document["components"]["schemas"]["ErrorBody"];
    assert_eq!(faults(&document, schema, &value, ""), Vec::<String>::new());
}
