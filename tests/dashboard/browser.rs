//! Chromium, driven by its own driver.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// A phone: width and height.
pub(crate) const PHONE: (u32, u32) = (390, 844);
/// What is not there by then is missing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Browser {
    client: Client,
    driver: Driver,
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Browser {
    /// A new one that knows nothing; with a size, as a phone of that size.
    pub(crate) async fn open(phone: Option<(u32, u32)>) -> Self {
        let mut driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = driver.as_mut().unwrap_or_else(|error| panic!("no chromedriver ({error}): tests/stack/build chromium installs it"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.split_once("started successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned()));
        let driver = Driver(driver.unwrap());
        std::thread::spawn(move || lines.for_each(drop));
        let mut options = json!({ "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--window-size=1440,900",
        ]});
        if let Some((width, height)) = phone {
            options["mobileEmulation"] = json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1}});
        }
        let capabilities = json!({"goog:chromeOptions": options}).as_object().unwrap().clone();
        let address = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        let client = ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&address).await.unwrap();
        Self { client, driver }
    }

    pub(crate) async fn goto(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    pub(crate) async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// Waits until it is there.
    pub(crate) async fn until(&self, what: &str, css: &str) {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        if let Err(error) = found {
            panic!("not {what} ({css}): {error}\n{}\n{}", self.address().await, self.client.source().await.unwrap());
        }
    }

    pub(crate) async fn until_text(&self, what: &str, css: &str, text: &str) {
        for _ in 0..PATIENCE.as_secs() * 4 {
            if self.script(&format!("return document.querySelector('{css}')?.innerText ?? ''")).await == text {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("not {what} ({css} is not {text}):\n{}", self.client.source().await.unwrap());
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.client.find(Locator::Css(css)).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn click(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// In place of what is there.
    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let field = self.client.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// A key, wherever the focus is.
    pub(crate) async fn press(&self, key: &str) {
        let focused = self.client.active_element().await.unwrap();
        focused.send_keys(key).await.unwrap();
    }

    pub(crate) async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
        drop(self.driver);
    }
}
