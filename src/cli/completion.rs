//! `haldane completion`: scripts for shells and for kubectl. What is completed comes from this program each time, names from the cluster.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::{
    ArgValueCompleter, CompletionCandidate,
    env::{EnvCompleter, Shells},
};
use kube::{ResourceExt, config::Kubeconfig};

use super::{
    Cli, Environment, Exit, Failure, Global,
    cluster::Cluster,
    output::{Format, Output},
    read::Reader,
};

/// Whoever waits for a name waits no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The variable that asks this program for candidates.
const ASKED: &str = "COMPLETE";

/// What a script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    Power,
    /// A program to be put into PATH as kubectl_complete-haldane: `kubectl haldane <TAB>`
    Kubectl,
}

#[derive(Debug, Args)]
#[command(after_help = "\
bash        source <(haldane completion bash)                       in ~/.bashrc
zsh         source <(haldane completion zsh)                        in ~/.zshrc
fish        haldane completion fish | source                        in ~/.config/fish/config.fish
powershell  haldane completion powershell | Out-String | iex        in $PROFILE
kubectl     haldane completion kubectl > kubectl_complete-haldane   in a directory of PATH, made executable")]
pub(super) struct CompletionArgs {
    /// What it is for
    shell: Shell,
}

/// kubectl 1.26 and newer ask a program of this name, and want a candidate in each line, then what to do with them (4: no file names).
const KUBECTL: &str = "\
#!/bin/sh
# What `kubectl haldane <TAB>` asks: a file named kubectl_complete-haldane in a directory of PATH, executable.
HALDANE_COMPLETE=kubectl exec haldane \"$@\"
";

pub(super) fn run(args: &CompletionArgs, output: &Output) -> Result<Exit, Failure> {
    let name = match args.shell {
        Shell::Kubectl => {
            output.raw(KUBECTL)?;
            return Ok(Exit::Reached);
        }
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        Shell::Power => "powershell",
    };
    let cannot = || Failure::new(Exit::Error, format!("the script for {name} cannot be written"), "");
    let shells = Shells::builtins();
    let shell: &dyn EnvCompleter = shells.completer(name).ok_or_else(cannot)?;
    let mut script = Vec::new();
    shell.write_registration(ASKED, "haldane", "haldane", "haldane", &mut script).map_err(|_| cannot())?;
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Reached)
}

/// The command line with what completes its names. `words` are those typed so far: they say which cluster and namespace are meant.
pub fn command(words: &[String]) -> Command {
    let mut command = Cli::command();
    let global = Meant::of(words).global();
    let having: Vec<String> = command
        .get_subcommands()
        .filter(|verb| verb.get_arguments().any(|argument| argument.get_id() == "name"))
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in having {
        let global = global.clone();
        let completer = ArgValueCompleter::new(move |current: &OsStr| candidates(&global, Wanted::Rollouts, current));
        command = command.mut_subcommand(verb, |verb| verb.mut_arg("name", |argument| argument.add(completer)));
    }
    for (argument, wanted) in [("namespace", Wanted::Namespaces), ("context", Wanted::Contexts)] {
        let global = global.clone();
        let completer = ArgValueCompleter::new(move |current: &OsStr| candidates(&global, wanted, current));
        command = command.mut_arg(argument, |argument| argument.add(completer));
    }
    command
}

/// What kubectl wants to know of a line: a candidate in each line with its help, then what to do with them.
pub fn complete_for_kubectl(words: &[String]) -> String {
    let line: Vec<_> = ["haldane".to_owned()].into_iter().chain(words.iter().cloned()).map(Into::into).collect();
    let at = line.len().saturating_sub(1);
    let found = clap_complete::engine::complete(&mut command(words), line, at, None).unwrap_or_default();
    let mut text = String::new();
    for candidate in found {
        let help = candidate.get_help().map(|help| help.to_string().lines().next().unwrap_or_default().to_owned());
        text += &candidate.get_value().to_string_lossy();
        text += &help.map_or_else(String::new, |help| format!("\t{help}"));
        text.push('\n');
    }
    text + ":4\n"
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Rollouts,
    Namespaces,
    Contexts,
}

/// The flags that say which cluster and namespace are meant.
#[derive(Debug, Default, PartialEq)]
struct Meant {
    namespace: Option<String>,
    context: Option<String>,
    kubeconfig: Option<PathBuf>,
    as_user: Option<String>,
}

impl Meant {
    fn of(words: &[String]) -> Self {
        let value = |names: &[&str]| {
            let mut pairs = words.iter().zip(words.iter().skip(1));
            let joined = || words.iter().find_map(|word| names.iter().find_map(|name| word.strip_prefix(name)?.strip_prefix('=')));
            pairs.find(|(flag, _)| names.contains(&flag.as_str())).map(|(_, value)| value.as_str()).or_else(joined).map(str::to_owned)
        };
        Self {
            namespace: value(&["-n", "--namespace"]),
            context: value(&["--context"]),
            kubeconfig: value(&["--kubeconfig"]).map(PathBuf::from),
            as_user: value(&["--as"]),
        }
    }

    fn global(self) -> Global {
        Global {
            namespace: self.namespace,
            context: self.context,
            kubeconfig: self.kubeconfig,
            as_user: self.as_user,
            as_group: Vec::new(),
            request_timeout: PATIENCE,
            output: Format::Text,
            no_color: true,
        }
    }
}

/// Names that begin as what is typed; none where the cluster does not answer in time.
fn candidates(global: &Global, wanted: Wanted, current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let names = runtime.block_on(async { tokio::time::timeout(PATIENCE, names(global, wanted)).await.unwrap_or_default() });
    let begin = current.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*begin)).map(CompletionCandidate::new).collect()
}

async fn names(global: &Global, wanted: Wanted) -> Vec<String> {
    if let Wanted::Contexts = wanted {
        let file = match &global.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        return file.map(|file| file.contexts.into_iter().map(|context| context.name).collect()).unwrap_or_default();
    }
    let Ok(cluster) = Cluster::connect(global, &Environment::default()).await else { return Vec::new() };
    if let Wanted::Rollouts = wanted {
        return cluster.list(false).await.map(|list| list.iter().map(ResourceExt::name_any).collect()).unwrap_or_default();
    }
    let list = Reader::new(cluster.client()).list("/api/v1/namespaces").await;
    let name = |object: &serde_json::Value| object.pointer("/metadata/name")?.as_str().map(str::to_owned);
    list.found().into_iter().flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_typed_so_far_say_which_cluster_is_meant() {
        let words = |line: &str| Meant::of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let found = words("haldane status -n ml --context=prod --kubeconfig /k --as kim fra");
        assert_eq!(
            (found.namespace.as_deref(), found.context.as_deref(), found.as_user.as_deref()),
            (Some("ml"), Some("prod"), Some("kim"))
        );
        assert_eq!(found.kubeconfig, Some(PathBuf::from("/k")));
        assert_eq!(words("haldane status"), Meant::default());
    }

    #[test]
    fn kubectl_gets_verbs_with_their_help_and_is_told_to_add_no_file_names() {
        let text = complete_for_kubectl(&["pro".to_owned()]);
        assert_eq!(text, "promote\tGo on to the next step without its proof; answers an approval\n:4\n");
    }
}
