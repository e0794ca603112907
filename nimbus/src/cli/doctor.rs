//! `nimbus doctor`: what is wrong with an installation on Kafka and Redis, and what to do about it.

use clap::Args;
use nimbus_config::{ConfigError, Loaded};
use serde_json::json;

use super::text;
use crate::{
    compose::{
        self,
        view::{Check, Severity},
    },
    exit::{Exit, Failure, tell},
};

const CONFIGURATION: &str = "configuration";

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

/// `loaded`: also what is wrong with the settings is a finding.
pub(crate) async fn run(args: &DoctorArgs, loaded: Result<Loaded, ConfigError>) -> Result<Exit, Failure> {
    let checks = match loaded {
        Ok(loaded) => {
            let mut checks = of_settings(&loaded);
            checks.extend(compose::examine(&loaded.config).await?);
            checks
        }
        Err(error) => of_problems(error),
    };
    show(args, &checks)?;
    let count = |severity| checks.iter().filter(|check| check.severity == severity).count();
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    tell(format_args!("{}, {}", counted(problems, "problem"), counted(warnings, "warning")));
    Ok(if problems == 0 { Exit::Done } else { Exit::Failed })
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn of_settings(loaded: &Loaded) -> Vec<Check> {
    if loaded.warnings.is_empty() {
        return vec![Check::ok(CONFIGURATION, "every setting is valid")];
    }
    let warning = |warning: &nimbus_config::Warning| {
        Check::warning(CONFIGURATION, warning.to_string(), "`nimbus config` shows what is in force")
    };
    loaded.warnings.iter().map(warning).collect()
}

fn of_problems(error: ConfigError) -> Vec<Check> {
    let problems = error.problems.into_iter();
    let mut checks: Vec<_> = problems
        .map(|problem| Check::problem(CONFIGURATION, format!("{}: {}", problem.name, problem.wrong), problem.remedy))
        .collect();
    let found = "not looked at: it is not certain where they are";
    checks.push(Check::warning("kafka and redis", found, "correct the settings first"));
    checks
}

fn show(args: &DoctorArgs, checks: &[Check]) -> Result<(), Failure> {
    if args.json {
        return text::write_json(checks.iter().map(|check| {
            json!({
                "check": check.name,
                "severity": check.severity.name(),
                "found": check.found,
                "remedy": (!check.remedy.is_empty()).then_some(&check.remedy),
            })
        }));
    }
    let row = |check: &Check| {
        [check.severity.name().to_owned(), check.name.to_owned(), text::line(&check.found), text::line(&check.remedy)]
    };
    text::write_rows(["", "CHECK", "FOUND", "WHAT TO DO"], &checks.iter().map(row).collect::<Vec<_>>())
}
