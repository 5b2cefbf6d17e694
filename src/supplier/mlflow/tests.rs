use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_json, header, method, path, query_param},
};

use super::*;
use crate::config::HttpAccess;

/// A real answer of MLflow.
fn answer(file: &str) -> ResponseTemplate {
    let text = std::fs::read_to_string(format!("{}/tests/data/mlflow/{file}.http", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
    ResponseTemplate::new(status).set_body_raw(body, kind)
}

fn open(server: &MockServer) -> Server {
    Server::new(&MlflowServer { url: format!("{}/base/", server.uri()), ..MlflowServer::default() }).unwrap()
}

fn ending(outcome: &'static str) -> Ending {
    Ending { version: "2".into(), outcome, reason: "drift: 29 % against 3 %".into() }
}

const ALIAS: &str = "/base/api/2.0/mlflow/registered-models/alias";
const VERSION: &str = "/base/api/2.0/mlflow/model-versions/get";
const TAG: &str = "/base/api/2.0/mlflow/model-versions/set-tag";

#[tokio::test]
async fn an_alias_is_asked_for_below_the_base_with_the_token_and_its_answers_are_understood() {
    let server = MockServer::start().await;
    let about =
        |alias: &str| Mock::given(method("GET")).and(path(ALIAS)).and(query_param("name", "fraud")).and(query_param("alias", alias));
    about("challenger").and(header("authorization", "Bearer of-haldane")).respond_with(answer("alias-found")).mount(&server).await;
    about("none").respond_with(answer("alias-not-found")).mount(&server).await;
    about("page").respond_with(answer("unknown-endpoint")).mount(&server).await;
    about("moved").respond_with(ResponseTemplate::new(302).insert_header("location", "/login")).mount(&server).await;
    about("endless").respond_with(ResponseTemplate::new(200).set_body_string("x".repeat(LARGEST + 1))).mount(&server).await;
    let token = std::env::temp_dir().join(format!("haldane-mlflow-token-{}", std::process::id()));
    std::fs::write(&token, "of-haldane\n").unwrap();
    let access = HttpAccess { bearer_token_file: Some(token), ..HttpAccess::default() };
    let open = Server::new(&MlflowServer { url: format!("{}/base", server.uri()), access, ..MlflowServer::default() }).unwrap();
    assert_eq!(open.alias("fraud", "challenger").await.unwrap().unwrap().number, "2");
    assert_eq!(open.alias("fraud", "none").await.unwrap(), None);
    let error = open.alias("fraud", "page").await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (Some("Status"), "HTTP 404: 404 Not Found; is url the base of MLflow?".to_owned()));
    assert_eq!(open.alias("fraud", "moved").await.unwrap_err().to_string(), "HTTP 302");
    let error = open.alias("fraud", "endless").await.unwrap_err();
    assert!(error.kind() == Some("Answer") && matches!(error, Silence::TooLarge), "{error}");
}

#[tokio::test]
async fn a_promoted_version_gets_the_alias_first_and_its_tags_last() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).and(path(VERSION)).respond_with(answer("version-with-tags")).mount(&server).await;
    Mock::given(method("GET"))
        .and(path(ALIAS))
        .and(query_param("alias", "champion"))
        .respond_with(answer("alias-after-move"))
        .mount(&server)
        .await;
    let moved = json!({"name": "fraud", "alias": "champion", "version": "2"});
    let done = || ResponseTemplate::new(200).set_body_json(json!({}));
    Mock::given(method("POST")).and(path(ALIAS)).and(body_json(moved)).respond_with(done()).expect(1).mount(&server).await;
    Mock::given(method("POST")).and(path(TAG)).respond_with(done()).expect(2).mount(&server).await;
    open(&server).report("fraud", "champion", &ending("promoted")).await.unwrap();
    let posts = server.received_requests().await.unwrap().into_iter().filter(|request| request.method.as_str() == "POST");
    let posts: Vec<Value> = posts.map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!([&posts[0]["alias"], &posts[1]["key"], &posts[2]["key"]], ["champion", "haldane.reason", "haldane.outcome"]);
}

#[tokio::test]
async fn what_mlflow_knows_or_has_deleted_is_not_reported_again() {
    let server = MockServer::start().await;
    let tags = json!([{"key": "haldane.outcome", "value": "rolled-back"}, {"key": "haldane.reason", "value": "drift: 29 % against 3 %"}]);
    let known = json!({"model_version": {"name": "fraud", "version": "2", "status": "READY", "tags": tags}});
    Mock::given(path(VERSION))
        .and(query_param("version", "2"))
        .respond_with(ResponseTemplate::new(200).set_body_json(known))
        .mount(&server)
        .await;
    Mock::given(path(VERSION)).and(query_param("version", "3")).respond_with(answer("unknown-model")).mount(&server).await;
    let open = open(&server);
    open.report("fraud", "champion", &ending("rolled-back")).await.unwrap();
    open.report("fraud", "champion", &Ending { version: "3".into(), ..ending("promoted") }).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap().len(), 2, "nothing was posted");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_left_alone_for_a_while() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let open = Server::new(&MlflowServer { url: format!("http://{free}"), ..MlflowServer::default() }).unwrap();
    let error = open.alias("fraud", "challenger").await.unwrap_err();
    assert!(error.kind() == Some("Unreachable") && error.to_string().starts_with("not reached: "), "{error}");
    let listener = tokio::net::TcpListener::bind(free).await.unwrap();
    assert!(open.alias("fraud", "challenger").await.is_err(), "it is not asked");
    open.wake();
    let asked = tokio::spawn(async move { open.alias("fraud", "challenger").await.is_err() });
    assert!(tokio::time::timeout(Duration::from_secs(60), listener.accept()).await.is_ok(), "a webhook says that it lives");
    asked.abort();
}
