//! Command line to command, crypto provider, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;
use haldane::cli::{self, Cli, Environment, Exit};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    haldane::tls::install();
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if std::env::var_os("HALDANE_COMPLETE").is_some_and(|asks| asks == "kubectl") {
        print!("{}", cli::complete_for_kubectl(&words));
        return ExitCode::SUCCESS;
    }
    CompleteEnv::with_factory(|| cli::command(&words)).complete();
    let mut command = Cli::command();
    if called_by_kubectl() {
        command = command.bin_name("kubectl haldane");
    }
    let matches = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to read it if this fails.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(matches) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Error.into()
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(haldane::cli::run(cli, environment()));
    // A read of standard input that never ends must not keep the process.
    runtime.shutdown_background();
    Ok(exit)
}

/// kubectl finds plugins by the name of their file.
fn called_by_kubectl() -> bool {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    name.as_deref().and_then(|name| name.file_stem()).is_some_and(|name| name == "kubectl-haldane")
}

fn environment() -> Environment {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    let columns = text("COLUMNS").and_then(|columns| columns.parse().ok());
    Environment { no_color: set("NO_COLOR").is_some(), columns, user: text("USER"), host: text("HOSTNAME") }
}
