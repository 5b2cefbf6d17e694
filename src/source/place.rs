//! The place in a Deployment: what stands there, and the patch that writes it.

use json_patch::{AddOperation, Patch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use super::Model;
use crate::api::names::MODEL;
use crate::plan::Place;

/// Lists of containers in a pod's spec.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// What a Deployment has at the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What stands there.
    pub value: Option<String>,
    /// What haldane says that it wrote.
    pub model: Option<Model>,
}

impl Held {
    /// Whether it is this model.
    pub fn is(&self, model: &Model, place: &Place) -> bool {
        let pinned = model.digest.is_none() || self.model.as_ref().is_some_and(|held| held.digest == model.digest);
        self.value.is_some() && self.value == model.at(place) && pinned
    }

    /// What haldane wrote, if it still stands there.
    pub fn written(&self, place: &Place) -> Option<&Model> {
        self.model.as_ref().filter(|model| self.value.is_some() && self.value == model.at(place))
    }
}

/// Why a Deployment has no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceFault {
    /// No container of this name.
    #[error("has no container {container} (it has {known}): set spec.source.write to one of them")]
    NoContainer {
        /// The name.
        container: String,
        /// Those that are there.
        known: String,
    },
    /// The variable is filled from elsewhere.
    #[error("fills {name} of container {container} with valueFrom: give it a value, which haldane then writes")]
    ValueFrom {
        /// The container.
        container: String,
        /// The variable.
        name: String,
    },
    /// The image would not be pinned.
    #[error("would get an image that is not pinned: the source gives no digest, or a URI that has one already")]
    NotPinned,
}

/// What a Deployment has at the place.
///
/// # Errors
/// When there is no such place.
pub fn held(deployment: &Value, place: &Place) -> Result<Held, PlaceFault> {
    let annotations = deployment.pointer("/spec/template/metadata/annotations");
    let annotation = |name: &str| annotations.and_then(|all| all.get(name)).and_then(Value::as_str).map(str::to_owned);
    let model = annotation(MODEL).and_then(|text| Model::read(&text));
    let value = match place {
        Place::Annotation(name) => annotation(name),
        Place::Image { container } => text(found(deployment, container)?.object, "image"),
        Place::Env { container, name } => match variable(found(deployment, container)?.object, name) {
            None => None,
            Some((_, entry)) if entry.get("valueFrom").is_some_and(|from| !from.is_null()) => {
                return Err(PlaceFault::ValueFrom { container: container.clone(), name: name.clone() });
            }
            Some((_, entry)) => Some(text(entry, "value").unwrap_or_default()),
        },
    };
    Ok(Held { value, model })
}

/// The patch that writes a model, and says so beside it. It fails if the Deployment is another than the one given.
///
/// # Errors
/// When there is no such place.
pub fn patch(deployment: &Value, place: &Place, model: &Model) -> Result<Patch, PlaceFault> {
    held(deployment, place)?;
    let value = json!(model.at(place).ok_or(PlaceFault::NotPinned)?);
    let version = deployment.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    let mut operations = vec![test(&["metadata", "resourceVersion"], version)];
    let mut said = vec![(MODEL, json!(model.text()))];
    match place {
        Place::Annotation(name) => said.insert(0, (name.as_str(), value)),
        Place::Image { container } => {
            let there = found(deployment, container)?;
            operations.push(test(&there.way(&["name"]), json!(container)));
            operations.push(put(&there.way(&["image"]), value));
        }
        Place::Env { container, name } => {
            let there = found(deployment, container)?;
            operations.push(test(&there.way(&["name"]), json!(container)));
            let entry = json!({ "name": name, "value": value });
            match (variable(there.object, name), there.object.get("env").is_some_and(Value::is_array)) {
                (Some((index, _)), _) => {
                    let index = index.to_string();
                    operations.push(test(&there.way(&["env", &index, "name"]), json!(name)));
                    operations.push(put(&there.way(&["env", &index, "value"]), value));
                }
                (None, true) => operations.push(put(&there.way(&["env", "-"]), entry)),
                (None, false) => operations.push(put(&there.way(&["env"]), json!([entry]))),
            }
        }
    }
    operations.extend(annotate(deployment, said));
    Ok(Patch(operations))
}

/// The line that writes the same, for whoever may. `read`: the Deployment, which says whether it is an init container.
pub fn command(namespace: &str, deployment: &str, place: &Place, model: &Model, read: Option<&Value>) -> String {
    let value = model.at(place).unwrap_or_else(|| model.uri.clone());
    let mut annotations = Map::from_iter([(MODEL.to_owned(), json!(model.text()))]);
    let list = |container: &str| read.and_then(|read| found(read, container).ok()).map_or("containers", |found| found.list);
    let mut containers = None;
    match place {
        Place::Annotation(name) => drop(annotations.insert(name.clone(), json!(value))),
        Place::Image { container } => containers = Some(json!({ list(container): [{ "name": container, "image": value }] })),
        Place::Env { container, name } => {
            containers = Some(json!({ list(container): [{ "name": container, "env": [{ "name": name, "value": value }] }] }));
        }
    }
    let metadata = json!({ "annotations": annotations });
    let template = match containers {
        None => json!({ "metadata": metadata }),
        Some(containers) => json!({ "metadata": metadata, "spec": containers }),
    };
    let patch = json!({ "spec": { "template": template } }).to_string().replace('\'', "'\\''");
    format!("kubectl -n {namespace} patch deployment {deployment} -p '{patch}'")
}

/// A container, and where it is.
struct Found<'a> {
    object: &'a Value,
    list: &'static str,
    index: String,
}

impl Found<'_> {
    /// The way to something in it.
    fn way<'w>(&'w self, rest: &[&'w str]) -> Vec<&'w str> {
        ["spec", "template", "spec", self.list, &self.index].iter().chain(rest).copied().collect()
    }
}

fn found<'a>(deployment: &'a Value, container: &str) -> Result<Found<'a>, PlaceFault> {
    let all = || {
        LISTS.into_iter().flat_map(|list| {
            let objects = deployment.pointer(&format!("/spec/template/spec/{list}")).and_then(Value::as_array);
            objects.into_iter().flatten().enumerate().map(move |(index, object)| (list, index, object))
        })
    };
    let named = |object: &Value| text(object, "name");
    let one = all().find(|(.., object)| named(object).as_deref() == Some(container));
    let known = || all().filter_map(|(.., object)| named(object)).collect::<Vec<_>>().join(", ");
    match one {
        Some((list, index, object)) => Ok(Found { object, list, index: index.to_string() }),
        None => Err(PlaceFault::NoContainer { container: container.to_owned(), known: known() }),
    }
}

/// A variable of a container. Of two with one name the last one counts.
fn variable<'a>(container: &'a Value, name: &str) -> Option<(usize, &'a Value)> {
    let all = container.get("env").and_then(Value::as_array)?;
    all.iter().enumerate().rfind(|(_, entry)| entry.get("name").and_then(Value::as_str) == Some(name))
}

/// Annotations of the pod template, and what they need to stand in.
fn annotate(deployment: &Value, said: Vec<(&str, Value)>) -> Vec<PatchOperation> {
    const METADATA: [&str; 3] = ["spec", "template", "metadata"];
    let there = |pointer: &str| deployment.pointer(pointer).is_some_and(Value::is_object);
    if !there("/spec/template/metadata") {
        let all: Map<String, Value> = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        return vec![put(&METADATA, json!({ "annotations": all }))];
    }
    if !there("/spec/template/metadata/annotations") {
        let all: Map<String, Value> = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        return vec![put(&[&METADATA[..], &["annotations"]].concat(), json!(all))];
    }
    said.into_iter().map(|(name, value)| put(&[&METADATA[..], &["annotations", name]].concat(), value)).collect()
}

fn test(way: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(way.iter().copied()), value })
}

/// Adds, or replaces what is there.
fn put(way: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(way.iter().copied()), value })
}

fn text(object: &Value, field: &str) -> Option<String> {
    object.get(field).and_then(Value::as_str).map(str::to_owned)
}
