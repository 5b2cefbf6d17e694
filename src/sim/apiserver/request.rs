//! What a request asks for: verb, resource, name, options.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, Uri, header};

use super::answer::Refusal;
use crate::sim::{kinds::Kind, store::Key};

/// Verbs, as in RBAC and in the request log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// GET of one object.
    Get,
    /// GET of many.
    List,
    /// GET of changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Anything that is not an object: versions, discovery, health.
    Other,
}

impl Verb {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        matches!(self, Verb::Create | Verb::Update | Verb::Patch | Verb::Delete)
    }

    /// In lower case, as RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::Other => "other",
        }
    }
}

/// A request for objects.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Verb.
    pub verb: Verb,
    /// Kind.
    pub kind: &'static Kind,
    /// Namespace; empty: all, or an object of the cluster.
    pub namespace: String,
    /// Name; empty for create, list and most watches.
    pub name: String,
    /// `status`, or empty.
    pub subresource: String,
}

impl Target {
    /// Where its object is kept.
    pub(super) fn key(&self) -> Key {
        Key { table: self.kind.table(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// Options of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    query: BTreeMap<String, String>,
    /// In which shape objects are wanted.
    pub shape: Shape,
    /// Content type of the body, without parameters.
    pub content_type: String,
    /// Who asks.
    pub user_agent: String,
}

/// In which shape objects are wanted (`Accept`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// As they are.
    #[default]
    Object,
    /// Metadata alone.
    Metadata,
    /// Rows for people.
    Table,
}

impl Options {
    /// Reads query and headers.
    ///
    /// # Errors
    /// 406 when nothing that is spoken here is accepted.
    pub(super) fn read(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name| headers.get(name).and_then(|v: &axum::http::HeaderValue| v.to_str().ok()).unwrap_or_default();
        let accept = text(header::ACCEPT);
        let shape = accept.split(',').find_map(shape_of).or_else(|| accept.is_empty().then_some(Shape::Object));
        let Some(shape) = shape else {
            let spoken = "only the following media types are accepted: application/json";
            return Err(Refusal::new(406, "NotAcceptable", spoken));
        };
        let content_type = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
        Ok(Self { query: pairs(uri.query().unwrap_or_default()), shape, content_type, user_agent: text(header::USER_AGENT).to_owned() })
    }

    /// A query parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A query parameter that is true or false.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    /// Whether nothing shall be stored.
    pub(super) fn dry_run(&self) -> bool {
        self.get("dryRun").is_some()
    }

    /// Who writes: the field manager, or the first word of the user agent.
    pub(super) fn manager(&self) -> String {
        let agent = self.user_agent.split(['/', ' ']).next().unwrap_or_default();
        self.get("fieldManager").unwrap_or(if agent.is_empty() { "unknown" } else { agent }).to_owned()
    }
}

fn shape_of(accepted: &str) -> Option<Shape> {
    let mut parts = accepted.split(';').map(str::trim);
    let media = parts.next()?;
    if !matches!(media, "application/json" | "*/*" | "application/*") {
        return None;
    }
    let mut shape = Shape::Object;
    for part in parts {
        match part.split_once('=') {
            Some(("as", "Table")) => shape = Shape::Table,
            Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => shape = Shape::Metadata,
            Some(("as", _)) => return None,
            _ => {}
        }
    }
    Some(shape)
}

/// Query parameters, decoded.
pub(crate) fn pairs(query: &str) -> BTreeMap<String, String> {
    let split = query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
    split.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let value = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                bytes.push(value.unwrap_or(b'%'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads method and path of a request for objects of these kinds; `None` when the path names none.
///
/// # Errors
/// 404 for a resource that is not there, 405 for a method that fits nothing.
pub(super) fn target(method: &Method, path: &str, options: &Options, served: &[&'static Kind]) -> Option<Result<Target, Refusal>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        [] => return None,
        ["namespaces", namespace, plural, rest @ ..] if *plural != "status" => (*namespace, [&[*plural][..], rest].concat()),
        rest => ("", rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Some(Err(Refusal::no_such_path())),
    };
    let at = |kind: &&&Kind| kind.group == group && kind.version == version && kind.plural == plural;
    let Some(kind) = served.iter().find(at).copied() else { return Some(Err(Refusal::no_such_path())) };
    if !(subresource.is_empty() || subresource == "status" && kind.status) || (kind.namespaced && namespace.is_empty() && !name.is_empty())
    {
        return Some(Err(Refusal::no_such_path()));
    }
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET" | "HEAD", _) if options.flag("watch") && subresource.is_empty() => Verb::Watch,
        ("GET" | "HEAD", true) => Verb::List,
        ("GET" | "HEAD", false) => Verb::Get,
        // A custom resource may be posted to its own path.
        ("POST", named) if named || kind.custom && subresource.is_empty() => Verb::Create,
        ("PUT", true) if kind.custom => return Some(Err(Refusal::bad_request("name must be provided"))),
        ("PUT", false) => Verb::Update,
        ("PATCH", false) => Verb::Patch,
        ("DELETE", false) if subresource.is_empty() => Verb::Delete,
        _ => return Some(Err(Refusal::method_not_allowed())),
    };
    Some(Ok(Target { verb, kind, namespace: namespace.to_owned(), name: decode(name), subresource: subresource.to_owned() }))
}
