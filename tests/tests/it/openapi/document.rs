//! The document, and a caller who holds each exchange to it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

pub(super) const HEADER: &str = "openstack-api-version";

/// The document, and what a session showed of it.
pub(super) struct Document {
    pub(super) whole: Value,
    /// Operation and status, of each answer.
    pub(super) seen: BTreeSet<(String, u16)>,
}

impl Document {
    pub(super) fn read() -> Document {
        let text = include_str!("../../../../docs/openapi.json");
        Document { whole: serde_json::from_str(text).unwrap(), seen: BTreeSet::new() }
    }

    /// Path template, method and operation.
    pub(super) fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let methods = ["get", "post", "put", "delete", "patch"];
        let paths = self.whole["paths"].as_object().unwrap();
        let of = |item: &'_ Value, method: &str| item.get(method).is_some();
        let each = paths.iter().flat_map(|(path, item)| methods.into_iter().map(move |method| (path.as_str(), method, item)));
        each.filter(|(_, method, item)| of(item, method)).map(|(path, method, item)| (path, method, &item[method])).collect()
    }

    /// Follows a reference of the document.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.whole.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// What a schema of the document finds wrong with a value.
    pub(super) fn problems(&self, schema: &Value, value: &Value) -> Vec<String> {
        let alone = json!({"allOf": [schema], "components": self.whole["components"]});
        let validator = jsonschema::options().should_validate_formats(true).build(&alone).unwrap();
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// The operation that serves a path; a template's part in braces stands for any.
    fn operation(&self, method: &Method, path: &str) -> &Value {
        let fits = |template: &str| {
            let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
            let (template, path) = (parts(template), parts(path));
            let same = |(one, other): (&String, &String)| one == other || one.starts_with('{');
            template.len() == path.len() && template.iter().zip(&path).all(same)
        };
        let method = method.as_str().to_lowercase();
        let mut found: Vec<_> =
            self.operations().into_iter().filter(|(template, of, _)| *of == method && fits(template)).collect();
        // `/os-hosts/allocations` before `/os-hosts/{id}`.
        found.sort_by_key(|(template, _, _)| template.contains('{'));
        found.first().unwrap_or_else(|| panic!("{method} {path} is not in the document")).2
    }

    /// Holds an exchange to the document.
    pub(super) fn check(&mut self, method: &Method, path: &str, version: &str, sent: Option<&Value>, status: u16, body: &Value) {
        let operation = self.operation(method, path).clone();
        let what = format!("{method} {path} under {version}: {status} {body}");
        let answers = &operation["responses"];
        let answer = answers.get(status.to_string()).unwrap_or(&answers["default"]);
        let schema = self.resolve(answer).pointer("/content/application~1json/schema").cloned();
        match schema {
            Some(schema) => assert_eq!(self.problems(&schema, body), Vec::<String>::new(), "{what}"),
            None => assert_eq!(*body, Value::Null, "{what}"),
        }
        let taken = (200..300).contains(&status);
        if taken {
            assert_eq!(
                self.shown_since(&answer["content"]["application/json"]["schema"], body, version),
                Vec::<String>::new(),
                "{what}"
            );
            if let (Some(sent), Some(schema)) = (sent, operation.pointer("/requestBody/content/application~1json/schema")) {
                assert_eq!(self.problems(schema, sent), Vec::<String>::new(), "taken, so the document must allow it: {sent}");
            }
        }
        self.seen.insert((operation["operationId"].as_str().unwrap().to_owned(), status));
    }

    /// Keys that came with a later microversion than the one that was asked for, and those of the one asked for that are missing.
    fn shown_since(&self, schema: &Value, value: &Value, version: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        let mut wrong = Vec::new();
        if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
            for (key, property) in properties {
                let since = property["x-since"].as_str();
                let there = object.get(key);
                if since.is_some_and(|since| there.is_some() != (since <= version)) {
                    wrong.push(format!("{key} since {since:?}"));
                }
                let shown = there.map(|inner| self.shown_since(property, inner, version));
                wrong.extend(shown.into_iter().flatten());
            }
        }
        for item in value.as_array().into_iter().flatten() {
            wrong.extend(self.shown_since(&schema["items"], item, version));
        }
        wrong
    }
}

/// A caller of the first node that holds each exchange to the document.
pub(super) struct Session {
    pub(super) document: Document,
    pub(super) client: reqwest::Client,
    pub(super) url: String,
    pub(super) version: &'static str,
}

impl Session {
    /// `path`: without `/v1`.
    pub(super) async fn ask(&mut self, method: Method, path: &str, sent: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        request = request.header(HEADER, format!("reservation {}", self.version));
        if let Some(body) = &sent {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        let without_query = path.split('?').next().unwrap_or_default();
        self.document.check(&method, &format!("/v1{without_query}"), self.version, sent.as_ref(), status, &body);
        (status, body)
    }

    pub(super) async fn get(&mut self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.1
    }

    pub(super) async fn send(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.ask(method, path, Some(body)).await
    }
}
