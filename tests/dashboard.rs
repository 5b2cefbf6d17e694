//! The dashboard in Chromium, against the simulated world and the true controller: looked at, and clicked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/stage.rs"]
mod stage;

use std::time::Duration;

use browser::{Browser, PHONE};
use haldane::api::Phase;
use stage::{Stage, TOKEN};

/// Every page and what a person does on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_promotes_and_aborts_in_a_browser() {
    let stage = Stage::set().await;
    let mut dashboard = stage.dashboard(&[]);
    let browser = Browser::open(None).await;
    browser.goto(&dashboard.link()).await;
    browser.until("the fleet", ".fleet .name").await;
    assert_eq!(browser.text(".fleet .badge").await, "Progressing");
    assert_eq!(browser.script("return getComputedStyle(document.body).fontVariantNumeric").await, "tabular-nums", "the style is applied");
    browser.until("a live page", ".live.on").await;

    browser.click(".fleet .name a").await;
    browser.until("the Rollout", "#title h1").await;
    assert_eq!(browser.text("#title h1").await, "ml/fraud");
    assert_eq!(browser.text(".steps li.present b").await, "20 %");

    // Bound to what is shown, with a reason; the page follows without a reload.
    browser.script("window.same = true").await;
    browser.click("#ask-promote > summary").await;
    browser.type_into("#ask-promote input[name=reason]", "looks good").await;
    browser.click("#ask-promote button").await;
    browser.until("the answer", "#notes .note.good").await;
    assert_eq!(browser.text("#notes .note").await, "promote accepted");
    stage.until("at the second step", |status| status.step.as_ref().is_some_and(|step| step.weight == 60)).await;
    browser.script("window.same = true").await;
    browser.until_text("the second step", ".steps li.present b", "60 %").await;
    assert_eq!(browser.script("return window.same").await, true, "in place");
    let decided = stage.world.status().decision.unwrap();
    assert_eq!(decided.by.unwrap().reason.as_deref(), Some("looks good"));

    browser.click("a.danger").await;
    browser.until("the question", "input[name=name]").await;
    browser.type_into("input[name=reason]", "scores look wrong").await;
    browser.type_into("input[name=name]", "ranker").await;
    browser.click("button.danger").await;
    browser.until("the refusal", "[role=alert]").await;
    assert_eq!(browser.text("[role=alert]").await, "This is not fraud: nothing was done.");
    assert_eq!(stage.world.status().phase, Some(Phase::Progressing));
    browser.type_into("input[name=name]", "fraud").await;
    browser.click("button.danger").await;
    browser.until_text("the end", "#title .badge", "Aborted").await;
    assert!(browser.text("#title").await.contains("scores look wrong"));
    stage.until("aborted", |status| status.phase == Some(Phase::Aborted)).await;
    assert_eq!(stage.world.weights().get("v2").copied().unwrap_or_default(), 0);
    browser.close().await;

    // The link is used; the terminal has another one. On a phone nothing is wider than the screen.
    let phone = Browser::open(Some(PHONE)).await;
    phone.goto(&dashboard.used()).await;
    assert!(phone.text("main").await.contains("link was used"));
    phone.goto(&dashboard.link()).await;
    phone.until("the fleet", ".fleet .name").await;
    for page in ["/", "/rollouts/ml/fraud", "/rollouts/ml/fraud/abort", "/rollouts/ml/nobody"] {
        phone.goto(&dashboard.at(page)).await;
        let wide = phone.script("return document.documentElement.scrollWidth").await;
        assert!(wide.as_i64().unwrap() <= 390, "{page} is {wide} wide");
    }
    phone.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_api_server_refuses_is_shown_with_its_words() {
    let stage = Stage::set().await;
    stage.refuse_patches();
    let mut dashboard = stage.dashboard(&["--path-prefix", "/haldane"]);
    let browser = Browser::open(None).await;
    browser.goto(&dashboard.link()).await;
    browser.until("the fleet", ".fleet .name").await;
    browser.click(".fleet .name a").await;
    browser.until("the Rollout", "#title h1").await;
    browser.click("form[action$='/pause'] button").await;
    browser.until("the refusal", "#notes .note.bad").await;
    let said = browser.text("#notes .note").await;
    assert!(said.contains("you may not patch rollouts.haldane.dev") && said.contains("cannot do this"), "{said}");
    // Keys lead where the mouse leads.
    browser.press("u").await;
    browser.until("the fleet", ".fleet .name").await;
    assert!(browser.address().await.ends_with("/haldane/"));
    browser.press("j").await;
    assert_eq!(browser.script("return document.activeElement.textContent").await, "ml/fraud");
    browser.press("/").await;
    assert_eq!(browser.script("return document.activeElement.name").await, "q");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_serves_the_page_to_whom_the_api_server_knows() {
    let stage = Stage::set().await;
    let get = async |path: &str, token: Option<&str>| {
        let request = reqwest::Client::new().get(format!("{}{path}", stage.page));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/", None).await.0, 401);
    assert_eq!(get("/", Some("guess")).await.0, 401);
    let (code, page) = get("/rollouts/ml/fraud", Some(TOKEN)).await;
    assert!(code == 200 && page.contains("Progressing") && page.contains("read-only") && !page.contains("<form"), "{page}");
    let post = reqwest::Client::new().post(format!("{}/rollouts/ml/fraud/promote", stage.page)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(post.status(), 405);
    // What changes is told at once.
    let mut events =
        reqwest::Client::new().get(format!("{}/rollouts/ml/fraud/events", stage.page)).bearer_auth(TOKEN).send().await.unwrap();
    stage.redescribe().await;
    let piece = tokio::time::timeout(Duration::from_secs(20), events.chunk()).await.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&piece).starts_with("event: "), "{piece:?}");
}
