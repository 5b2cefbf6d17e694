//! Routes as people have them: every shape in `tests/data/routes`, read by the caches' own code and decided on, without any I/O. What an act
//! does is done to the object.

// A test may stop at the first thing that is not as it should be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::Path};

use haldane::{
    api::{Phase, Reason, Rollout, RouteKind},
    command::{Command, Verb},
    config::Config,
    decide::{Act, Decision, decide},
    observe::{
        cluster::{Caches, Known, RouteCaches, Routes},
        shelf::{About, Shelf},
        workload::ReadyLog,
    },
    route::{Fence, patch, release},
    seen::Observation,
    state::State,
};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Resource,
    core::discovery::ApiResource,
    runtime::{
        reflector::{self, Store},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A shape, and how far its rollout has come.
struct World {
    objects: Vec<Value>,
    /// Name, ports and versions of the Service.
    service: Value,
    state: State,
    now: Timestamp,
    commands: Vec<Command>,
    deleting: bool,
    /// The VirtualService as it was.
    before: Value,
    writes: usize,
}

fn yaml(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).unwrap()
}

impl World {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/routes/{name}.yaml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let service = text.lines().find_map(|line| line.strip_prefix("# service: ")).unwrap();
        let mut objects = yaml(&text);
        for (age, object) in objects.iter_mut().enumerate() {
            object["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{age}Z"));
            object["metadata"]["uid"] = json!(format!("uid-{age}"));
            object["metadata"]["resourceVersion"] = json!("1");
        }
        let mut world = Self {
            objects,
            service: yaml(service).remove(0),
            state: State::default(),
            now: "2026-02-01T00:00:00Z".parse().unwrap(),
            commands: Vec::new(),
            deleting: false,
            before: Value::Null,
            writes: 0,
        };
        world.before = world.route().clone();
        world
    }

    fn of(&self, kind: &str) -> Vec<Value> {
        self.objects.iter().filter(|object| object["kind"] == kind).cloned().collect()
    }

    fn rollout(&self) -> Value {
        self.of("Rollout").remove(0)
    }

    fn rollout_mut(&mut self) -> &mut Value {
        self.objects.iter_mut().find(|object| object["kind"] == "Rollout").unwrap()
    }

    /// The VirtualService of the Rollout.
    fn route(&mut self) -> &mut Value {
        let name = self.rollout()["spec"]["traffic"]["virtualService"].clone();
        self.objects.iter_mut().find(|object| object["kind"] == "VirtualService" && object["metadata"]["name"] == name).unwrap()
    }

    fn http(&mut self) -> &mut Value {
        &mut self.route()["spec"]["http"]
    }

    fn observe(&mut self) -> Observation {
        let namespace = self.rollout()["metadata"]["namespace"].clone();
        let versions: Vec<&str> = self.service["versions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let pod = |version: &&str| {
            let owner =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{version}-aaa"), "uid": "u", "controller": true}]);
            let labels = json!({"app": self.service["name"], "version": version, "pod-template-hash": format!("{version}-hash")});
            json!({"metadata": {"name": format!("{version}-0"), "namespace": namespace, "labels": labels, "ownerReferences": owner, "creationTimestamp": "2026-01-01T00:00:00Z"}})
        };
        let endpoint = |version: &&str| json!({"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": format!("{version}-0")}});
        let ports: Vec<Value> =
            self.service["ports"].as_array().unwrap().iter().map(|port| json!({"name": format!("http-{port}"), "port": port})).collect();
        let slice = json!({
            "metadata": {"name": "slice", "namespace": namespace, "labels": {"kubernetes.io/service-name": self.service["name"]}},
            "endpoints": versions.iter().map(endpoint).collect::<Vec<_>>(), "ports": ports,
        });
        let routes = RouteCaches::default();
        let virtual_service = resource("VirtualService", "virtualservices");
        let objects = shelf(self.of("VirtualService"));
        routes.add(RouteKind::VirtualService, Routes { resource: virtual_service, shelf: objects });
        let caches = Caches {
            rollouts: rollouts(self.of("Rollout")),
            routes,
            destination_rules: shelf(self.of("DestinationRule")),
            slices: shelf(vec![slice]),
            pods: shelf(versions.iter().map(pod).collect()),
        };
        let rollout: Rollout = serde_json::from_value(self.rollout()).unwrap();
        let (mut ready, config) = (ReadyLog::default(), Config::default());
        let known = Known {
            route: None,
            fresh: false,
            look: None,
            passes: 9,
            refusal: None,
            raise_refused: None,
            source: None,
            ready: &mut ready,
            config: &config,
        };
        let mut seen = caches.observe(&rollout, &self.state, known, self.now);
        seen.commands = self
            .commands
            .iter()
            .filter(|command| self.state.handled.get(command.verb.name()) != Some(&command.id))
            .cloned()
            .map(Ok)
            .collect();
        seen.deleting = self.deleting;
        seen
    }

    fn pass(&mut self) -> Decision {
        let seen = self.observe();
        let decision = decide(&self.state, &seen, self.now);
        let finalizers = &mut self.rollout_mut()["metadata"]["finalizers"];
        let ops = match (&decision.act, &seen.route) {
            (Act::AddFinalizer, _) => {
                *finalizers = json!(["haldane.dev/restore-traffic"]);
                None
            }
            (Act::DropFinalizer, _) => {
                *finalizers = json!([]);
                None
            }
            (Act::Raise(wanted), Ok(view)) => Some(patch(view, wanted, Fence::Version).unwrap()),
            (Act::Lower(wanted), Ok(view)) => Some(patch(view, wanted, Fence::Identity).unwrap()),
            (Act::Release { stable, canary }, Ok(view)) => Some(release(view, stable, canary.as_deref())),
            _ => {
                self.state = decision.state.clone();
                let status = serde_json::to_value(&self.state).unwrap();
                self.rollout_mut()["status"] = json!({ "checkpoint": status });
                None
            }
        };
        if let Some(ops) = ops {
            self.writes += 1;
            let route = self.route();
            json_patch::patch(route, &ops).unwrap();
            if route["metadata"]["annotations"] == json!({}) {
                route["metadata"].as_object_mut().unwrap().remove("annotations");
            }
        }
        decision
    }

    /// Passes until nothing changes.
    fn settle(&mut self) -> Decision {
        for _ in 0..40 {
            let before = (self.state.clone(), self.objects.clone());
            let decision = self.pass();
            if (self.state.clone(), self.objects.clone()) == before {
                return decision;
            }
        }
        panic!("it does not settle");
    }

    fn wait(&mut self, minutes: i64) -> Decision {
        self.now += SignedDuration::from_mins(minutes);
        self.settle()
    }

    fn say(&mut self, verb: Verb) {
        let id = format!("{}", self.commands.len());
        self.commands.push(Command {
            verb,
            id,
            step: None,
            reason: Some("a test".into()),
            by: Some("ana".into()),
            force: false,
            manager: None,
        });
    }

    /// The Rollout is deleted; what is left of it in the VirtualService must be nothing.
    fn deleted(&mut self) -> Value {
        self.deleting = true;
        self.settle();
        assert_eq!(self.rollout()["metadata"]["finalizers"].as_array().map_or(0, Vec::len), 0);
        self.route().clone()
    }

    /// It waits, and an hour later too, without any write; the reason and the message.
    fn refused(&mut self) -> (Reason, String) {
        let stance = self.settle().stance;
        let later = self.wait(60).stance;
        assert_eq!((stance.phase, later.phase, self.writes), (Phase::Waiting, Phase::Waiting, 0), "{} {}", later.reason, later.message);
        assert!(stance.stalled, "{}", stance.message);
        (later.reason, later.message)
    }

    /// It starts.
    fn starts(&mut self) -> Value {
        let stance = self.settle().stance;
        assert!(self.state.run.is_some() && self.writes == 1, "{} {}", stance.reason, stance.message);
        self.http().clone()
    }
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    let gvk = kube::core::GroupVersionKind::gvk("networking.istio.io", "v1", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

fn rollouts(objects: Vec<Value>) -> Store<Rollout> {
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    store
}

fn shelf<K: Resource + About + DeserializeOwned>(objects: Vec<Value>) -> Shelf<K> {
    Shelf::of(objects.into_iter().map(|object| serde_json::from_value(object).unwrap()))
}

fn weights(route: &Value) -> Vec<Option<u64>> {
    route["route"].as_array().unwrap().iter().map(|entry| entry["weight"].as_u64()).collect()
}

#[test]
fn a1_a_subset_that_no_proxy_has_is_not_found_before_any_write_and_the_rule_is_named_with_its_fix() {
    for (shape, host) in [("cut-host", "scorer.vs30"), ("cut-host-svc", "scorer.vs50.svc")] {
        let mut world = World::new(shape);
        let (why, message) = world.refused();
        assert_eq!(why, Reason::SubsetNotFound, "{message}");
        let fix = format!(
            "DestinationRule scorer-next has it for host {host}, and Istio takes a name with a dot as it is, so that no proxy has the subset: set its spec.host to scorer"
        );
        assert!(message.ends_with(&fix), "{message}");
        // The fix is one.
        let rule = world.objects.iter_mut().find(|object| object["metadata"]["name"] == "scorer-next").unwrap();
        rule["spec"]["host"] = json!("scorer");
        world.starts();
    }
}

#[test]
fn a1_a_route_to_a_host_that_no_service_has_is_reported_with_its_fix() {
    let mut world = World::new("cut-host");
    for entry in world.http()[0]["route"].as_array_mut().unwrap() {
        entry["destination"]["host"] = json!("scorer.vs30");
    }
    let (why, message) = world.refused();
    assert_eq!(why, Reason::HostElsewhere);
    assert!(message.ends_with("set destination.host to scorer, or to scorer.vs30.svc.cluster.local"), "{message}");
}

#[test]
fn a2_a_route_without_a_subset_reaches_the_canary_at_any_weight() {
    let mut world = World::new("no-subset");
    let (why, message) = world.refused();
    assert_eq!(why, Reason::RouteAmbiguous);
    assert!(message.ends_with("reach the pods of v2 at any weight: set spec.http[0].route[0].destination.subset to v1"), "{message}");
    // Then both can be stepped, and one must be named.
    world.http()[0]["route"][0]["destination"]["subset"] = json!("v1");
    world.http()[1]["name"] = json!("all");
    world.rollout_mut()["spec"]["traffic"]["route"] = json!("all");
    world.starts();
}

#[test]
fn a3_a_lone_destination_with_weight_0_leads_everybody_to_the_canary() {
    let mut world = World::new("beside-everything");
    let (why, message) = world.refused();
    assert_eq!(why, Reason::RouteAmbiguous);
    assert!(message.contains("route api leads to v2 too"), "{message}");
    assert!(message.ends_with("set spec.http[0].route[0].destination.subset to v1"), "{message}");
}

#[test]
fn a4_an_older_virtual_service_for_the_same_gateway_in_another_spelling_is_a_rival() {
    let mut world = World::new("older-host");
    let (why, message) = world.refused();
    assert_eq!(why, Reason::HostShared);
    assert!(message.contains("at gateway istio-system/gw too") && message.contains("legacy, the older one"), "{message}");
}

#[test]
fn a5_a_route_below_one_that_takes_every_request_at_the_only_port_is_unreachable() {
    let mut world = World::new("only-port");
    let (why, message) = world.refused();
    assert_eq!(why, Reason::RouteUnreachable);
    assert!(
        message.contains("http[0] of VirtualService grpc-cart-1 stands above route get")
            && message.contains("at 80, the only port of cartservice"),
        "{message}"
    );
    // With a second port requests may come to it.
    world.service["ports"] = json!([80, 81]);
    world.starts();
}

#[test]
fn a6_a_match_that_nobody_can_fit_is_a_conflict() {
    let (why, message) = World::new("left-out-header").refused();
    assert_eq!(why, Reason::MatchConflict);
    assert!(message.contains("header x-group (which it leaves out by withoutHeaders)"), "{message}");
    let (why, message) = World::new("header-case").refused();
    assert_eq!(why, Reason::MatchConflict);
    assert!(message.contains("asks for header X-Group"), "{message}");
}

/// The shape of four routes, with the stepped one promoted.
fn promoted() -> World {
    let mut world = World::new("four-routes");
    world.starts();
    world.wait(11);
    let stance = world.wait(11).stance;
    assert_eq!(stance.phase, Phase::Promoted, "{}", stance.message);
    world
}

#[test]
fn b1_who_still_needs_the_version_before_is_named_as_long_as_they_do() {
    let mut world = promoted();
    let sibling = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "front", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"hosts": ["front.example.test"], "http": [{"route": [{"destination": {"host": "scorer.vs02.svc.cluster.local", "subset": "shared"}}]}]},
    });
    world.objects.push(sibling);
    for minutes in [0, 90] {
        let message = world.wait(minutes).stance.message;
        for name in ["in-cluster-default", "north", "south"] {
            assert!(message.contains(&format!("http route {name} of VirtualService scorer-vs")), "{message}");
        }
        assert!(
            message.contains("shared is still needed by") && message.ends_with("VirtualService shop/front: keep its pods"),
            "{message}"
        );
    }
    // The decision record says it too, and never that it is not needed.
    let next = &world.state.decision.as_ref().unwrap().next;
    assert!(next.contains("shared is still needed by") && !next.contains("no longer needed"), "{next}");
    // Once nobody leads there any more, nothing is said of it.
    world.objects.retain(|object| object["metadata"]["name"] != "front");
    for index in 0..3 {
        world.http()[index]["route"] = world.http()[3]["route"].clone();
    }
    assert!(!world.wait(1).stance.message.contains("still needed"));
}

#[test]
fn b2_a_second_rollout_for_the_sibling_route_starts_once_the_first_is_promoted() {
    let mut world = World::new("four-routes");
    let mut second = world.rollout();
    second["metadata"]["name"] = json!("north");
    second["metadata"]["uid"] = json!("uid-north");
    second["spec"]["traffic"]["route"] = json!("north");
    world.starts();
    world.wait(11);
    assert_eq!(weights(&world.http()[3]), [Some(0), Some(100)], "the last step");
    // From here on the second one is looked at, beside the first.
    let turn = |world: &mut World| {
        let first = world.objects.iter().position(|object| object["kind"] == "Rollout").unwrap();
        world.objects.insert(first, second.clone());
        std::mem::take(&mut world.state)
    };
    let state = turn(&mut world);
    let stance = world.settle().stance;
    assert_eq!(stance.reason, Reason::RouteAmbiguous);
    assert!(stance.message.ends_with("by Rollout scorer: once that is promoted, this one continues"), "{}", stance.message);
    let first = world.objects.iter().position(|object| object["metadata"]["name"] == "north").unwrap();
    world.objects.remove(first);
    world.state = state;
    assert_eq!(world.wait(11).stance.phase, Phase::Promoted);
    let writes = world.writes;
    turn(&mut world);
    world.settle();
    assert_eq!(world.writes, writes + 1);
    assert_eq!(weights(&world.http()[1]), [Some(75), Some(25)]);
    assert_eq!(weights(&world.http()[3]), [Some(0), Some(100)], "the first one's route stays");
}

#[test]
fn c1_subsets_that_select_the_same_pods_overlap() {
    for (shape, pair) in [
        ("equal-labels", "subsets stable {app: scorer} and canary {app: scorer}"),
        ("wider-labels", "subsets v1 {app: scorer} and v2 {app: scorer, version: v2}"),
    ] {
        let (why, message) = World::new(shape).refused();
        assert_eq!(why, Reason::ArmsOverlap, "{message}");
        assert!(message.starts_with(pair), "{message}");
    }
}

#[test]
fn c2_weights_in_thousandths_start_and_come_back_as_they_were() {
    let mut world = World::new("thousandths");
    assert_eq!(weights(&world.starts()[0]), [Some(75), Some(25)]);
    world.say(Verb::Abort);
    world.settle();
    assert_eq!(world.deleted(), world.before);
}

#[test]
fn c3_a_canary_without_a_weight_beside_others_gets_nothing_of_another_route() {
    let mut world = World::new("beside-nothing");
    assert_eq!(weights(&world.starts()[1]), [Some(75), Some(25)]);
}

#[test]
fn c4_a_lone_destination_with_weight_1_has_everything() {
    let mut world = World::new("lone-one");
    assert_eq!(weights(&world.starts()[0]), [Some(75), Some(25)]);
    assert_eq!(world.deleted(), world.before);
}

#[test]
fn c5_one_service_in_two_spellings_is_one_host() {
    let mut world = World::new("two-spellings");
    let http = world.starts();
    assert_eq!(weights(&http[0]), [Some(75), Some(25)]);
    assert_eq!(http[0]["route"][1]["destination"]["host"], "scorer.vs34.svc.cluster.local", "as it was written");
}

#[test]
fn c6_of_routes_that_no_name_tells_apart_it_is_said_how_to_go_on() {
    for (shape, names) in [("nameless", "http[0] without a name, http[1] without a name"), ("one-name", "twice (http[0]), twice (http[1])")]
    {
        let (why, message) = World::new(shape).refused();
        assert_eq!(why, Reason::RouteAmbiguous);
        assert!(message.contains(names) && message.contains("a name of its own (for example spec.http[0].name: stepped)"), "{message}");
    }
}

#[test]
fn d1_d2_a_rollout_that_is_deleted_leaves_every_byte_as_it_was() {
    for shape in ["every-host", "lone-zero", "missing-weight", "thousandths", "lone-one", "two-spellings", "beside-nothing", "four-routes"]
    {
        for ends in [None, Some(Verb::Abort)] {
            let mut world = World::new(shape);
            world.starts();
            world.wait(11); // the next step
            if let Some(verb) = ends {
                world.say(verb);
                let stance = world.settle().stance;
                assert_eq!(stance.phase, Phase::Aborted, "{shape}: {}", stance.message);
            }
            assert_eq!(world.deleted(), world.before, "{shape}, {ends:?}");
        }
    }
}

#[test]
fn every_shape_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/routes");
    let tests = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routes.rs")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(tests.contains(&format!("\"{name}\"")), "{name}");
    }
}
