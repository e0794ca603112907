//! What is done with the results of loads: written, compared, merged.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use nimbus_loadtest::{Compared, LoadError, LoadResult, Unit};
use serde_json::json;

use super::{show, units, warn};
use crate::{
    cli::text,
    exit::{Exit, Failure},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Files {
    /// Shows two results beside each other, with the ratio of each number
    #[command(after_help = "Examples:
  nimbus load --rate 20000 --out before.json
  nimbus load --rate 20000 --out after.json
  nimbus load compare before.json after.json

A ratio is the second divided by the first. In a pipe it is one line a number, its fields divided by tabs.")]
    Compare {
        /// The first result, as written by --out
        a: PathBuf,
        /// The second
        b: PathBuf,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes one result of those of several load processes that ran at the same time
    #[command(after_help = "Examples:
  nimbus load --rate 20000 --out a.json & nimbus load --rate 20000 --out b.json; wait
  nimbus load merge a.json b.json --out both.json --html both.html

Counts add up, latencies are put together one by one, seconds of the wall clock are laid on top of each other.")]
    Merge {
        /// Results, as written by --out
        #[arg(required = true, num_args = 1..)]
        results: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}

/// Where a result goes, besides to standard output.
#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// Writes the result to this file, to compare and to merge: report, every latency, samples of each second
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Writes the result to this file, to look at: a page with latency and throughput over time, and percentiles
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Prints the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Output {
    /// Whether the files can be written: better known before a load than after it. Leaves what is in them.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for path in self.out.iter().chain(&self.html) {
            OpenOptions::new().append(true).create(true).open(path).map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }

    pub(super) fn write(&self, result: &LoadResult) -> Result<(), Failure> {
        if let Some(path) = &self.out {
            fs::write(path, result.to_json()).map_err(|error| cannot_write(path, &error))?;
        }
        if let Some(path) = &self.html {
            let page = nimbus_loadtest::page(result).map_err(|error| Failure::new(Exit::Data, error))?;
            fs::write(path, page).map_err(|error| cannot_write(path, &error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write {}: {error}", path.display()))
}

pub(super) fn run(files: Files) -> Result<Exit, Failure> {
    match files {
        Files::Compare { a, b, json } => {
            let (first, second) = (read(&a)?, read(&b)?);
            let compared = nimbus_loadtest::compare(&first, &second);
            if json {
                text::write_json(compared.iter().map(json_of))?;
            } else {
                let names = [&a, &b].map(|path| path.display().to_string());
                let rows: Vec<_> = compared.iter().map(row).collect();
                text::write_rows(["what", &names[0], &names[1], "ratio"], &rows)?;
            }
            warn(Some(&a), &first.report);
            warn(Some(&b), &second.report);
        }
        Files::Merge { results, output } => {
            let results = results.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            let merged = nimbus_loadtest::merge(&results).map_err(|error| Failure::new(Exit::Data, error))?;
            output.write(&merged)?;
            show(&merged.report, output.json)?;
            warn(None, &merged.report);
        }
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<LoadResult, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Io, format!("cannot read {}: {error}", path.display())))?;
    let named = |error: LoadError| Failure::new(Exit::Data, format!("{}: {error}", path.display()));
    LoadResult::from_json(&text).map_err(named)
}

fn row(one: &Compared) -> [String; 4] {
    let value = |value: f64| match one.unit {
        Unit::PerSecond => format!("{} events/s", units::count(value)),
        Unit::Micros => units::micros(value),
        Unit::Mib => format!("{value:.1} MiB"),
        Unit::Cores => format!("{value:.2} cores"),
        Unit::Count => units::count(value),
    };
    let ratio = one.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    [one.what.to_owned(), value(one.a), value(one.b), ratio]
}

fn json_of(one: &Compared) -> serde_json::Value {
    let unit = match one.unit {
        Unit::PerSecond => "events/s",
        Unit::Micros => "us",
        Unit::Mib => "MiB",
        Unit::Cores => "cores",
        Unit::Count => "",
    };
    json!({ "what": one.what, "unit": unit, "a": one.a, "b": one.b, "ratio": one.ratio() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_values_and_their_ratio() {
        let mut one = Compared { what: "latency p99", unit: Unit::Micros, a: 2_000.0, b: 500.0 };
        assert_eq!(row(&one), ["latency p99", "2.00 ms", "500 us", "0.25"]);
        assert_eq!(json_of(&one)["ratio"], 0.25);
        one.a = 0.0;
        assert_eq!(row(&one)[3], "-");
        assert!(json_of(&one)["ratio"].is_null());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_known_before_the_load_and_what_is_in_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        fs::write(&path, "before").unwrap();
        let output = |out: PathBuf| Output { out: Some(out), html: None, json: false };
        output(path.clone()).check().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let nowhere = output(directory.path().join("missing/a.json")).check().unwrap_err();
        assert_eq!(nowhere.exit, Exit::Io);
        assert_eq!(read(&path).unwrap_err().exit, Exit::Data);
        assert_eq!(read(&directory.path().join("b.json")).unwrap_err().exit, Exit::Io);
    }
}
