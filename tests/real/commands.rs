//! The command line against a real API server: what is asked, what is answered, and with which exit code.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::world::{SOON, Shape, World, rollout, story};

/// Runs `haldane VERB fraud …` in the namespace of the story. Exit code, standard output, standard error.
pub(super) async fn haldane(world: &World, args: &[&str]) -> (i32, String, String) {
    let (verb, rest) = args.split_first().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.arg(verb).args((*verb != "list").then_some("fraud")).args(["--namespace", &world.namespace]).args(rest).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_person_approves_pauses_resumes_aborts_and_retries_from_the_command_line() {
    story("commands", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        assert_eq!(haldane(world, &["status"]).await.0, 7, "not found");
        let steps =
            json!([{ "weight": 20, "hold": "2s" }, { "name": "half", "weight": 50, "hold": "300s", "approval": true }, { "weight": 100 }]);
        world.apply(&rollout(json!({ "steps": steps }), json!({ "interval": "2s", "warmUp": "0s", "metrics": [] })));

        // A pipeline that waits learns that a person is needed, and which command answers.
        let (code, out, err) = haldane(world, &["status", "--until", "promoted", "--timeout", "20s"]).await;
        assert_eq!(code, 5, "{out}{err}");
        assert!(format!("{out}{err}").contains("haldane promote"), "{out}{err}");
        let (code, out, err) = haldane(world, &["promote", "--reason", "looks good"]).await;
        assert_eq!(code, 0, "{out}{err}");
        let (code, out, err) = haldane(world, &["status", "--until", "step=half", "--timeout", "60s"]).await;
        assert_eq!((code, world.weight().await), (0, 50), "{out}{err}");

        for (verb, phase) in [("pause", "Paused"), ("resume", "Progressing")] {
            let (code, out, err) = haldane(world, &[verb]).await;
            assert_eq!(code, 0, "{verb}: {out}{err}");
            world.until_phase(phase, SOON).await;
        }
        let (code, out, err) = haldane(world, &["list", "-o", "json"]).await;
        assert_eq!(code, 0, "{err}");
        assert!(serde_json::from_str::<Value>(&out).unwrap().to_string().contains("\"fraud\""), "{out}");

        let (code, out, err) = haldane(world, &["abort", "--reason", "wrong model"]).await;
        assert_eq!((code, world.weight().await), (0, 0), "{out}{err}");
        assert_eq!(haldane(world, &["status", "--until", "promoted", "--timeout", "20s"]).await.0, 4, "aborted by a person");
        let (code, out, err) = haldane(world, &["explain"]).await;
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("wrong model"), "{out}");
        let (code, out, err) = haldane(world, &["retry", "--reason", "the right one after all"]).await;
        assert_eq!(code, 0, "{out}{err}");
        world.until_weight(20, SOON).await;
    })
    .await;
}
