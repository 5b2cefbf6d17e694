//! A real etcd and kube-apiserver, started for the test and ended with it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use kube::Client;

pub(crate) struct Real {
    children: Vec<Child>,
    directory: PathBuf,
    url: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const TOKEN: &str = "contract-test-token";

/// Where tests/stack/build puts the programs.
pub(crate) fn programs() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let stack = std::env::var("HALDANE_STACK_DIR").unwrap_or(format!("{home}/.cache/haldane-stack"));
    Path::new(&stack).join("bin")
}

/// Runs kubectl with the kubeconfig in a directory: exit code and what was said, without what must differ.
pub(crate) fn kubectl(home: &Path, line: &str) -> String {
    let mut command = Command::new(programs().join("kubectl"));
    command.args(line.split(' ')).env("KUBECONFIG", home.join("config")).arg("--cache-dir").arg(home.join("cache"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut text = format!("exit {}\n", output.status.code().unwrap_or(-1));
    for said in [&output.stdout, &output.stderr] {
        for line in String::from_utf8_lossy(said).lines() {
            let varies =
                ["Resource Version:", "UID:", "Creation Timestamp:", "Time:"].iter().any(|head| line.trim_start().starts_with(head));
            if !varies {
                text.push_str(&without_ages(line));
                text.push('\n');
            }
        }
    }
    text
}

/// Words of a line without an age at its end.
fn without_ages(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let is_age = |word: &&str| word.ends_with('s') && word.trim_end_matches('s').parse::<u32>().is_ok();
    words.pop_if(|word| is_age(word));
    words.join(" ")
}

impl Real {
    pub(crate) async fn start() -> Self {
        let bin = programs();
        assert!(bin.join("kube-apiserver").exists(), "no kube-apiserver in {}: tests/run builds it", bin.display());
        let directory = std::env::temp_dir().join(format!("haldane-contract-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [etcd, peer, secure] = [free_port(), free_port(), free_port()];
        let file = |name: &str| directory.join(name).display().to_string();
        fs::write(file("tokens"), format!("{TOKEN},admin,admin,system:masters\n")).unwrap();
        let (private, public) = signing_keys();
        fs::write(file("key.pem"), private).unwrap();
        fs::write(file("key.pub"), public).unwrap();
        let etcd_url = format!("http://127.0.0.1:{etcd}");
        let mut real = Self { children: Vec::new(), directory: directory.clone(), url: format!("https://127.0.0.1:{secure}") };
        real.spawn(
            &bin.join("etcd"),
            &[
                ("--data-dir", file("etcd")),
                ("--listen-client-urls", etcd_url.clone()),
                ("--advertise-client-urls", etcd_url.clone()),
                ("--listen-peer-urls", format!("http://127.0.0.1:{peer}")),
                ("--unsafe-no-fsync", "true".into()),
                ("--log-level", "error".into()),
            ],
        );
        real.spawn(
            &bin.join("kube-apiserver"),
            &[
                ("--etcd-servers", etcd_url),
                ("--bind-address", "127.0.0.1".into()),
                ("--advertise-address", "10.240.255.254".into()),
                ("--secure-port", secure.to_string()),
                ("--cert-dir", file("certs")),
                ("--token-auth-file", file("tokens")),
                ("--authorization-mode", "AlwaysAllow".into()),
                ("--service-account-key-file", file("key.pub")),
                ("--service-account-signing-key-file", file("key.pem")),
                ("--service-account-issuer", "https://kubernetes.default.svc".into()),
                ("--service-cluster-ip-range", "10.0.0.0/24".into()),
                ("--disable-admission-plugins", "ServiceAccount".into()),
            ],
        );
        real
    }

    fn spawn(&mut self, program: &Path, flags: &[(&str, String)]) {
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        let log = fs::File::create(self.directory.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(program);
        command.args(flags.iter().map(|(flag, value)| format!("{flag}={value}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.children.push(command.spawn().unwrap());
    }

    pub(crate) fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: \"{}\", insecure-skip-tls-verify: \
             true}}\nusers:\n- name: c\n  user: {{token: {TOKEN}}}\ncontexts:\n- name: c\n  context: {{cluster: c, user: c, namespace: ml}}\n",
            self.url
        )
    }

    pub(crate) async fn client(&self) -> Client {
        let config = kube::config::Kubeconfig::from_yaml(&self.kubeconfig()).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        for _ in 0..450 {
            let ready = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if client.request_text(ready).await.is_ok() {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let log = fs::read_to_string(self.directory.join("kube-apiserver.log")).unwrap_or_default();
        panic!("kube-apiserver is not ready after 90 seconds: {}", log.lines().rev().take(5).collect::<Vec<_>>().join("\n"));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Keys for service account tokens, which nobody here asks for: private in PKCS #8, public as SubjectPublicKeyInfo.
fn signing_keys() -> (String, String) {
    use ring::signature::KeyPair;
    let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let random = ring::rand::SystemRandom::new();
    let private = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).unwrap();
    // "An elliptic curve point on P-256" in DER, up to the point itself.
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        0x07, 0x03, 0x42, 0x00,
    ];
    let public = [&head[..], pair.public_key().as_ref()].concat();
    let pem = |name: &str, der: &[u8]| format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", base64(der));
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", &public))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            text.push(if i > chunk.len() { '=' } else { char::from(LETTERS[(n >> (18 - 6 * i) & 63) as usize]) });
        }
    }
    text
}
