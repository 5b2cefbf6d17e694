//! Messages about a rule of an HTTPRoute name its kind and use its words.

use serde_json::json;

use super::world::World;
use crate::api::{Phase, Reason, Verdict};
use crate::command::Verb;
use crate::tell::text::Text;

#[test]
fn an_abort_without_the_http_route_names_it_and_claims_no_write() {
    let mut world = World::of_http_route();
    world.settle();
    assert_eq!(world.share("fraud-v2"), 5);
    world.gone = true;
    world.say(Verb::Abort, "1");
    let decision = world.pass();
    assert_eq!((decision.stance.phase, decision.stance.reason), (Phase::Aborted, Reason::HTTPRouteNotFound));
    let record = decision.records.last().unwrap();
    assert!(record.message.ends_with("; HTTPRoute fraud is gone, so nothing is written"), "{}", record.message);
    assert!(record.next.starts_with("restore HTTPRoute fraud;"), "{}", record.next);
    let note = Text::of("ml", "fraud", record).note();
    assert!(note.contains("Now: no weight was set;") && !note.contains("100 % at"), "{note}");
}

#[test]
fn a_write_that_is_refused_names_the_object_that_refuses_it() {
    let mut world = World::of_http_route();
    world.settle();
    world.refusal = Some("a webhook".into());
    world.verdict = Verdict::Fail;
    let stance = world.pass().stance;
    assert_eq!(stance.reason, Reason::RouteRefused);
    assert!(stance.message.contains("; but HTTPRoute fraud refuses the write (a webhook)"), "{}", stance.message);
}

#[test]
fn a_raise_that_is_refused_is_reported_once_for_each_step() {
    let mut world = World::of_http_route();
    world.settle();
    (world.verdict, world.windows) = (Verdict::Pass, 9);
    let reported = |world: &World| world.records.iter().filter(|record| record.1 == Reason::RaiseRefused).count();
    for (share, times) in [(5, 1), (20, 2)] {
        world.raise_refused = Some("a webhook".into());
        for _ in 0..5 {
            let stance = world.wait(61).stance;
            assert_eq!((stance.phase, stance.reason), (Phase::Holding, Reason::RaiseRefused));
            assert!(stance.message.ends_with("HTTPRoute fraud refuses the write (a webhook); retried every 30 s"), "{}", stance.message);
        }
        assert_eq!((world.share("fraud-v2"), reported(&world)), (share, times));
        world.raise_refused = None;
        world.settle();
    }
    assert_eq!(world.share("fraud-v2"), 50);
}

#[test]
fn weights_that_are_all_0_are_said_to_serve_nobody() {
    let mut world = World::of_http_route();
    world.settle();
    for at in 0..2 {
        world.route["spec"]["rules"][0]["backendRefs"][at]["weight"] = json!(0);
    }
    world.touch();
    let decision = world.settle();
    assert_eq!((decision.stance.phase, decision.stance.reason), (Phase::Paused, Reason::ManualOverride));
    let wanted = "every weight of route primary of HTTPRoute fraud was set to 0, by hand, so that its requests get an error: set the weight of fraud-v1; ";
    assert!(decision.stance.message.starts_with(wanted), "{}", decision.stance.message);
}

#[test]
fn a_route_that_is_not_accepted_carries_no_traffic() {
    let traffic = |world: &mut World| world.settle().stance.traffic;
    let mut world = World::of_http_route();
    world.heard("Unknown");
    let wanted = (false, Reason::RouteNotAccepted, "HTTPRoute fraud is not accepted yet by Service ml/fraud".to_owned());
    assert_eq!(traffic(&mut world), wanted, "before the start");
    world.heard("True");
    assert!(traffic(&mut world).0);
    assert_eq!(world.share("fraud-v2"), 5);
    world.heard("Unknown");
    assert!(traffic(&mut world).0, "what was written just now is not heard of at once");
    let stance = world.wait(31).stance;
    assert_eq!((stance.reason, stance.traffic), (Reason::RouteNotAccepted, wanted));
    world.heard("False");
    let told = traffic(&mut world);
    assert!(!told.0 && told.2.starts_with("Service ml/fraud does not take HTTPRoute fraud: Accepted is False"), "{}", told.2);
    world.route["spec"]["parentRefs"] = json!([]);
    let told = traffic(&mut world).2;
    assert_eq!(told, "HTTPRoute fraud has no parentRefs, so that no gateway or Service sends it a request: name one there");
}

#[test]
fn at_rest_too_a_route_that_is_not_accepted_is_reported() {
    let mut world = World::of_http_route();
    world.spec["canary"] = json!({"service": "fraud-v1"});
    assert_eq!(world.settle().stance.reason, Reason::AsPlanned);
    world.heard("False");
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, stance.traffic.0), (Phase::Idle, Reason::RouteNotAccepted, false));
    assert!(stance.message.contains("serves everybody; but Service ml/fraud does not take HTTPRoute fraud"), "{}", stance.message);
}

#[test]
fn a_rule_of_ours_that_is_left_is_called_a_rule() {
    let mut world = World::of_http_route();
    world.spec["canary"] = json!({"service": "fraud-v1"});
    world.settle();
    let own = json!({"name": "haldane.dev.primary", "backendRefs": [{"name": "fraud-v2", "port": 80}]});
    world.route["spec"]["rules"].as_array_mut().unwrap().insert(0, own);
    let decision = world.pass();
    assert_eq!(decision.stance.reason, Reason::Drifted);
    assert!(decision.stance.message.ends_with("; take rule haldane.dev.primary away"), "{}", decision.stance.message);
    assert_eq!(decision.records[0].next, "no rollout starts before it is gone");
}

#[test]
fn a_rule_without_a_name_is_not_called_by_the_key_of_its_claim() {
    let mut world = World::of_http_route();
    world.route["spec"]["rules"][0].as_object_mut().unwrap().remove("name");
    world.route["spec"]["rules"][0]["backendRefs"] = json!([{"name": "fraud-v1"}, {"name": "fraud-v2"}]);
    let message = world.settle().stance.message;
    assert!(message.starts_with("the route without a name of HTTPRoute fraud has fraud-v1 50 %, fraud-v2 50 %"), "{message}");
}
